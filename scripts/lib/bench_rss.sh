#!/usr/bin/env bash
# usage: bench_rss.sh LEVAULT CACHE: peak memory of backup and restore with two million tiny records, and with six
# values of 64 MiB, against the promise: 150 MiB plus three times the largest value. Exits 1 if it is broken.
set -euo pipefail
. "$(dirname "$0")/common.sh"
levault=$1 cache=$2
work=$cache/rss
rm -rf "$work" && mkdir -p "$work" "$cache/db"
trap 'rm -rf "$work"' EXIT
broken=0

# measure NAME LIMIT_KIB COMMAND...: runs it under time(1), prints a row.
measure() {
  local name=$1 limit=$2 peak wall
  shift 2
  /usr/bin/time -v -o "$work/time" "$@" >"$work/out" 2>&1 </dev/null || { cat "$work/out" >&2; die "$* failed"; }
  peak=$(awk '/Maximum resident set size/ { print $NF }' "$work/time")
  wall=$(awk '/Elapsed/ { print $NF }' "$work/time")
  printf '| %-18s | %12d KiB | %10d KiB | %8s | %s |\n' "$name" "$peak" "$limit" "$wall" \
    "$([ "$peak" -le "$limit" ] && echo kept || echo BROKEN)"
  [ "$peak" -le "$limit" ] || broken=1
}

echo '| what               | peak resident    | promised       | wall     |      |'
echo '|--------------------|-----------------:|---------------:|---------:|------|'
while read -r workload largest_mib; do
  db=$cache/db/$workload-1.0
  if [ ! -d "$db" ]; then
    "$PYTHON" "$ROOT/scripts/lib/mkdb.py" "$workload" "$db.part" 0 >&2
    mv "$db.part" "$db"
  fi
  limit=$(((150 + 3 * largest_mib) * 1024))
  export LEVAULT_REPOSITORY=$work/$workload-repository LEVAULT_CACHE_DIR=$work/cache LEVAULT_PASSWORD=bench
  "$levault" -q init
  measure "$workload, backup" $limit "$levault" backup "$db"
  measure "$workload, restore" $limit "$levault" restore latest --target "$work/$workload-restored"
  measure "$workload, check" $limit "$levault" check --read-data
  [ "$("$PYTHON" "$ROOT/scripts/lib/stream_sha256.py" "$db" "$work")" \
    = "$("$PYTHON" "$ROOT/scripts/lib/stream_sha256.py" "$work/$workload-restored" "$work")" ] \
    || die "$workload did not come back"
  rm -rf "$work/$workload-restored" "$LEVAULT_REPOSITORY"
done <<'W'
tiny 0
huge 64
W
exit $broken
