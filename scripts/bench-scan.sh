#!/usr/bin/env bash
# Full scan beside C++ LevelDB's own iterator (checksums verified, cache not filled): MB of key and value per second of
# CPU, user and system together, the median of three interleaved runs, on 1 GiB of small records, plain and snappy.
#
#   scripts/bench-scan.sh [MiB] [runs]
#
# Fails when a scan sees other records than C++ LevelDB, or when the ratio is below 1.3.
set -euo pipefail
. "$(dirname "$0")/lib/common.sh"
MIB=${1:-1024}
RUNS=${2:-3}
CACHE=${LEVAULT_BENCH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/levault-bench}/scan
RATIO_MIN=1.3
export LC_ALL=C TIMEFORMAT='%U %S'

[ -e /usr/include/leveldb/db.h ] || install_debian libleveldb-dev
need_debian g++=g++
mkdir -p "$CACHE"
g++ -O2 -DNDEBUG -o "$CACHE/cpp_scan" "$ROOT/benches/cpp_scan.cc" -lleveldb -lpthread
say "building dbscan (release)"
(cd "$ROOT" && cargo build --release --quiet --example dbscan)
DBSCAN=${CARGO_TARGET_DIR:-$(cd "$ROOT" && cargo metadata --format-version 1 --no-deps |
  sed 's/.*"target_directory":"\([^"]*\)".*/\1/')}/release/examples/dbscan

# run NAME COMMAND...: adds "NAME bytes cpu-seconds records" to the results of this codec.
run() {
  local name=$1 cpu
  shift
  { time "$@" >"$CACHE/out"; } 2>"$CACHE/time"
  cpu=$(awk '{ print $1 + $2 }' "$CACHE/time")
  awk -v name="$name" -v cpu="$cpu" \
    '$1 == "records" { printf "%s %.0f %s %s:%s:%s\n", name, $4 + $6, cpu, $2, $4, $6 }' "$CACHE/out" >>"$CACHE/results"
}

median() { # NAME: MB per CPU second
  awk -v name="$1" '$1 == name { print $2 / $3 / 1e6 }' "$CACHE/results" | sort -n |
    awk '{ v[NR] = $1 } END { printf "%.0f", v[int((NR + 1) / 2)] }'
}

status=0
printf '%-8s %14s %14s %7s\n' blocks 'C++ MB/CPU s' 'levault' ratio
for codec in none snappy; do
  db=$CACHE/$codec-$MIB
  if [ ! -e "$db.whole" ]; then
    say "making $MIB MiB of small records, $codec (once)"
    rm -rf "$db"
    "$CACHE/cpp_scan" make "$db" "$codec" "$MIB"
    touch "$db.whole"
  fi
  : >"$CACHE/results"
  for _ in $(seq "$RUNS"); do
    run cpp "$CACHE/cpp_scan" scan "$db"
    run levault "$DBSCAN" --fast "$db"
  done
  [ "$(awk '{ print $4 }' "$CACHE/results" | sort -u | wc -l)" -eq 1 ] || die "the scans saw different records: $CACHE/results"
  cpp=$(median cpp) ours=$(median levault)
  ratio=$(awk -v a="$ours" -v b="$cpp" 'BEGIN { printf "%.2f", a / b }')
  printf '%-8s %14s %14s %7s\n' "$codec" "$cpp" "$ours" "$ratio"
  awk -v r="$ratio" -v min=$RATIO_MIN 'BEGIN { exit !(r < min) }' && status=1
done
[ $status -eq 0 ] || die "below $RATIO_MIN of C++ LevelDB"
