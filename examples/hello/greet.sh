#!/bin/sh
# Prints the words of a file one by one, like a slow build.
set -eu
for word in $(cat "$1"); do
    printf '\033[1;32m%s\033[0m\n' "$word"
    sleep 0.2
done
