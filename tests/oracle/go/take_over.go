// goleveldb takes a restored database over: opens, reads, looks up, writes, compacts, reopens.
//
//	take_over DATABASE EXPECTED BLOOM_BITS LEVEL
//
// EXPECTED holds the records in order as le32 length and bytes, key and value by turns; BLOOM_BITS is 0 for no
// filter; LEVEL is where every table must stand, -1 for no table. Any difference is a panic.
package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand"
	"os"
	"sort"
	"strconv"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/filter"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/util"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func number(text string) int {
	value, err := strconv.Atoi(text)
	check(err)
	return value
}

func expected(path string) (keys []string, model map[string][]byte) {
	data, err := os.ReadFile(path)
	check(err)
	next := func() []byte {
		length := binary.LittleEndian.Uint32(data)
		field := data[4 : 4+length]
		data = data[4+length:]
		return field
	}
	model = map[string][]byte{}
	for len(data) > 0 {
		key := string(next())
		model[key] = next()
		keys = append(keys, key)
	}
	return
}

func open(path string, bloomBits int) *leveldb.DB {
	options := &opt.Options{ErrorIfMissing: true, Strict: opt.StrictAll, WriteBuffer: 256 << 10}
	if bloomBits > 0 {
		options.Filter = filter.NewBloomFilter(bloomBits)
	}
	db, err := leveldb.OpenFile(path, options)
	check(err)
	return db
}

func checkLevel(db *leveldb.DB, level int) {
	for number := 0; number < 12; number++ {
		files, err := db.GetProperty(fmt.Sprintf("leveldb.num-files-at-level%d", number))
		check(err)
		if (files != "0") != (number == level) {
			panic(fmt.Sprintf("%s tables on level %d, wanted all on %d", files, number, level))
		}
	}
}

func checkScan(db *leveldb.DB, keys []string, model map[string][]byte) {
	records := db.NewIterator(nil, nil)
	defer records.Release()
	at := 0
	for ; records.Next(); at++ {
		if at >= len(keys) || string(records.Key()) != keys[at] || !bytes.Equal(records.Value(), model[keys[at]]) {
			panic(fmt.Sprintf("record %d differs: %q", at, records.Key()))
		}
	}
	check(records.Error())
	if at != len(keys) {
		panic(fmt.Sprintf("%d records read, %d expected", at, len(keys)))
	}
}

func checkGets(db *leveldb.DB, keys []string, model map[string][]byte, random *rand.Rand) {
	for _, key := range keys {
		value, err := db.Get([]byte(key), nil)
		check(err)
		if !bytes.Equal(value, model[key]) {
			panic(fmt.Sprintf("get %q", key))
		}
	}
	for i := 0; i < 2000 && len(keys) > 0; i++ {
		key := keys[random.Intn(len(keys))] + "\x00absent"
		if _, err := db.Get([]byte(key), nil); model[key] == nil && err != leveldb.ErrNotFound {
			panic(fmt.Sprintf("get %q found something (%v)", key, err))
		}
	}
}

func churn(db *leveldb.DB, keys []string, model map[string][]byte, random *rand.Rand) []string {
	if len(keys) == 0 {
		keys = []string{"first"}
	}
	for i := 0; i < 3000; i++ {
		key := keys[random.Intn(len(keys))] + []string{"", "", "+"}[random.Intn(3)]
		if random.Intn(3) == 0 {
			check(db.Delete([]byte(key), nil))
			delete(model, key)
		} else {
			value := make([]byte, random.Intn(300))
			random.Read(value)
			check(db.Put([]byte(key), value, nil))
			model[key] = value
		}
	}
	keys = keys[:0]
	for key := range model {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}

func main() {
	path, bloomBits, level := os.Args[1], number(os.Args[3]), number(os.Args[4])
	keys, model := expected(os.Args[2])
	random := rand.New(rand.NewSource(7))
	db := open(path, bloomBits)
	checkLevel(db, level)
	checkScan(db, keys, model)
	checkGets(db, keys, model, random)
	checkLevel(db, level)
	for round := 0; round < 3; round++ {
		keys = churn(db, keys, model, random)
		checkScan(db, keys, model)
		check(db.Close())
		db = open(path, bloomBits)
		checkScan(db, keys, model)
		check(db.CompactRange(util.Range{}))
		checkScan(db, keys, model)
		checkGets(db, keys, model, random)
	}
	check(db.Close())
}
