#!/usr/bin/env bash

# Adds the entries of a log to a Redis stream, each at least once:
#
#     redis-drain.sh LOG STREAM POSITION-FILE [OPTION OF redis-cli]...
#
# A pipe from "tail --save" to redis-cli would not do, since what is in the pipe
# counts as read. So a batch is read first, and the new position is kept only when
# Redis has answered for all of it. ONCE=1 ends it after one batch.

set -euo pipefail

log=$1 stream=$2 position=$3
shift 3
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# The protocol of Redis, with the lengths in bytes: entries may hold anything.
LC_ALL=C
name=${stream//\\/\\\\}
name=${name//%/%%}
format='*5\r\n$4\r\nXADD\r\n$'${#stream}'\r\n'$name'\r\n$1\r\n*\r\n$4\r\ndata\r\n$%l\r\n%d\r\n'

while :; do
    rm -f "$folder/position"
    [[ ! -e $position ]] || cp "$position" "$folder/position"
    log-shared tail --close-holes --save "$folder/position" --format "$format" "$log" >"$folder/batch"
    if [[ -s $folder/batch ]]; then
        redis-cli "$@" --pipe <"$folder/batch" >"$folder/answer"
        grep -q '^errors: 0,' "$folder/answer"
        cp "$folder/position" "$position.new"
        sync "$position.new"
        mv "$position.new" "$position"
    fi
    [[ ! ${ONCE:-} ]] || break
    sleep 0.2
done
