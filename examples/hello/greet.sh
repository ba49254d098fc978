#!/bin/sh
# Says what is in a file, a word at a time, as a slow build would.
set -eu
for word in $(cat "$1"); do
    printf '\033[1;32m%s\033[0m\n' "$word"
    sleep 0.2
done
