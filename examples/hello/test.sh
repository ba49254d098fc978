#!/bin/sh
# A test suite of one test: the greeting greets.
set -eu
echo "Hi there" > words.txt
said=$(sh greet.sh words.txt)
case $said in
    *Hi*there*) echo "test.sh: 1 passed" ;;
    *) echo "test.sh:7: expected a greeting, got: $said" >&2; exit 1 ;;
esac
