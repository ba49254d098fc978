#!/bin/sh
# A test suite with a single test: greet.sh prints the words it's given.
set -eu
echo "Hi there" > words.txt
said=$(sh greet.sh words.txt)
case $said in
    *Hi*there*) echo "test.sh: 1 passed" ;;
    *) echo "test.sh:7: expected a greeting, got: $said" >&2; exit 1 ;;
esac
