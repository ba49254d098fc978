#!/bin/sh
# Creates the secrets that all nodes share, each in a file that is named after its setting.
set -eu
# systemd reads credentials as root. In a container, the daemon runs as another user, who has to be able to read them.
folder=${1:-secrets} mode=${1:+600}
mkdir -p "$folder"
cd "$folder"
umask 077
random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
keep() { [ -s "$1" ] || cat > "$1"; }

random | keep POSTGRES_PASSWORD
printf 'postgresql://bassloop:%s@postgres/bassloop' "$(cat POSTGRES_PASSWORD)" | keep DATABASE_URL
random | keep SESSION_SECRET
random | keep GITHUB_APP_WEBHOOK_SECRET
printf bass-loop | keep AWS_ACCESS_KEY_ID
random | keep AWS_SECRET_ACCESS_KEY
[ -s SSH_HOST_KEY ] || { ssh-keygen -q -t ed25519 -N '' -C bass-loop -f SSH_HOST_KEY; rm SSH_HOST_KEY.pub; }
chmod "${mode:-644}" ./*
