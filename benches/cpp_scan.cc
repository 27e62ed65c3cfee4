// C++ LevelDB beside dbscan, for scripts/bench-scan.sh.
//   cpp_scan make DIR none|snappy MIB   about MIB of small records: inserted in random order, a fifth overwritten,
//                                       compacted, then 5 % overwritten and 1 % deleted; a log tail is left
//   cpp_scan scan DIR                   iterate over everything, checksums verified, cache not filled
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include "leveldb/cache.h"
#include "leveldb/db.h"
#include "leveldb/filter_policy.h"
#include "leveldb/write_batch.h"

static void ok(const leveldb::Status& status) {
  if (!status.ok()) {
    fprintf(stderr, "%s\n", status.ToString().c_str());
    exit(1);
  }
}

static uint64_t mix(uint64_t x) {  // splitmix64
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

static std::string key_of(uint64_t record) {
  char key[40];
  snprintf(key, sizeof key, "account/%016llx", (unsigned long long)mix(record));
  return key;
}

// About 150 bytes that compress to about half, as small JSON documents do.
static std::string value_of(uint64_t record, uint64_t version) {
  static const char* words[] = {"active", "closed", "pending", "eu-west", "us-east", "standard", "premium", "trial"};
  uint64_t r = mix(record * 31 + version);
  char value[200];
  int len = snprintf(value, sizeof value,
      "{\"id\":%llu,\"state\":\"%s\",\"region\":\"%s\",\"plan\":\"%s\",\"balance\":%llu,\"token\":\"%016llx%016llx\",\"v\":%llu}",
      (unsigned long long)record, words[r & 7], words[r >> 3 & 7], words[r >> 6 & 7], (unsigned long long)(r >> 9 & 0xfffff),
      (unsigned long long)mix(r), (unsigned long long)mix(r + 1), (unsigned long long)version);
  return std::string(value, len);
}

static void put_all(leveldb::DB* db, uint64_t count, uint64_t step, uint64_t version) {
  leveldb::WriteBatch batch;
  uint64_t in_batch = 0;
  for (uint64_t record = 0; record < count; record += step) {
    batch.Put(key_of(record), value_of(record, version));
    if (++in_batch == 500) {
      ok(db->Write({}, &batch));
      batch.Clear();
      in_batch = 0;
    }
  }
  ok(db->Write({}, &batch));
}

static void make(const char* dir, const char* codec, uint64_t mib) {
  leveldb::Options options;
  options.create_if_missing = true;
  options.error_if_exists = true;
  options.write_buffer_size = 16 << 20;
  options.compression = strcmp(codec, "snappy") ? leveldb::kNoCompression : leveldb::kSnappyCompression;
  leveldb::DB* raw;
  ok(leveldb::DB::Open(options, dir, &raw));
  std::unique_ptr<leveldb::DB> db(raw);
  uint64_t count = mib * (1 << 20) / 174;
  put_all(db.get(), count, 1, 0);
  put_all(db.get(), count, 5, 1);
  db->CompactRange(nullptr, nullptr);
  db.reset();
  options.error_if_exists = false;
  options.write_buffer_size = 4 << 20;
  ok(leveldb::DB::Open(options, dir, &raw));
  db.reset(raw);
  put_all(db.get(), count, 20, 2);
  for (uint64_t record = 7; record < count; record += 100) ok(db->Delete({}, key_of(record)));
}

static void scan(const char* dir) {
  leveldb::Options options;
  options.paranoid_checks = true;
  leveldb::DB* raw;
  ok(leveldb::DB::Open(options, dir, &raw));
  std::unique_ptr<leveldb::DB> db(raw);
  leveldb::ReadOptions read;
  read.verify_checksums = true;
  read.fill_cache = false;
  std::unique_ptr<leveldb::Iterator> it(db->NewIterator(read));
  uint64_t records = 0, key_bytes = 0, value_bytes = 0;
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    records++;
    key_bytes += it->key().size();
    value_bytes += it->value().size();
  }
  ok(it->status());
  printf("records %llu key_bytes %llu value_bytes %llu\n", (unsigned long long)records, (unsigned long long)key_bytes,
         (unsigned long long)value_bytes);
}

int main(int argc, char** argv) {
  if (argc == 5 && !strcmp(argv[1], "make")) {
    make(argv[2], argv[3], strtoull(argv[4], nullptr, 10));
  } else if (argc == 3 && !strcmp(argv[1], "scan")) {
    scan(argv[2]);
  } else {
    fprintf(stderr, "usage: cpp_scan make DIR none|snappy MIB | cpp_scan scan DIR\n");
    return 2;
  }
  return 0;
}
