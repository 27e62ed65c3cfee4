// goleveldb as a long-running servant of the tests: tests/oracle/oracle.py says how it is spoken to. It knows W, D, A, K,
// C and P (which is Recover). Its tables and levels are small, so that small databases have many.
package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"

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

// The rest of a request.
type fields []byte

func (rest *fields) raw(length uint32) []byte {
	data := (*rest)[:length]
	*rest = (*rest)[length:]
	return data
}

func (rest *fields) number() uint32 { return binary.LittleEndian.Uint32(rest.raw(4)) }

func (rest *fields) bytes() []byte { return rest.raw(rest.number()) }

// plyvel.DB's arguments, as far as they have a meaning here.
func options(text []byte) *opt.Options {
	var wanted struct {
		BlockSize       int     `json:"block_size"`
		BloomFilterBits int     `json:"bloom_filter_bits"`
		Compression     *string `json:"compression"`
		WriteBufferSize int     `json:"write_buffer_size"`
	}
	check(json.Unmarshal(text, &wanted))
	options := &opt.Options{
		BlockSize:           wanted.BlockSize,
		Compression:         opt.NoCompression,
		WriteBuffer:         wanted.WriteBufferSize,
		CompactionTableSize: 64 << 10,
		CompactionTotalSize: 256 << 10,
	}
	if wanted.Compression != nil {
		options.Compression = opt.SnappyCompression
	}
	if wanted.BloomFilterBits > 0 {
		options.Filter = filter.NewBloomFilter(wanted.BloomFilterBits)
	}
	return options
}

func open(path string, options *opt.Options) *leveldb.DB {
	database, err := leveldb.OpenFile(path, options)
	check(err)
	return database
}

func addChange(batch *leveldb.Batch, rest *fields) {
	switch kind := rest.raw(1)[0]; kind {
	case 'p':
		key := rest.bytes()
		batch.Put(key, rest.bytes())
	case 'd':
		batch.Delete(rest.bytes())
	default:
		panic(fmt.Sprintf("operation %q", kind))
	}
}

func writeOn(database *leveldb.DB, path string, options *opt.Options, rest *fields) *leveldb.DB {
	for len(*rest) > 0 {
		batch, count := new(leveldb.Batch), uint32(1)
		switch (*rest)[0] {
		case 'r':
			rest.raw(1)
			check(database.Close())
			database = open(path, options)
			continue
		case 'c':
			rest.raw(1)
			check(database.CompactRange(util.Range{}))
			continue
		case 'b':
			rest.raw(1)
			count = rest.number()
		}
		for ; count > 0; count-- {
			addChange(batch, rest)
		}
		check(database.Write(batch, nil))
	}
	return database
}

func dump(path string, strict opt.Strict) (out []byte) {
	database := open(path, &opt.Options{ErrorIfMissing: true, Strict: strict})
	defer database.Close()
	put := func(field []byte) {
		var length [4]byte
		binary.LittleEndian.PutUint32(length[:], uint32(len(field)))
		out = append(append(out, length[:]...), field...)
	}
	records := database.NewIterator(nil, nil)
	defer records.Release()
	for records.Next() {
		put(records.Key())
		put(records.Value())
	}
	check(records.Error())
	return
}

var kept = map[string]*leveldb.DB{}

func answer(rest fields) (out []byte, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("%v", cause)
		}
	}()
	command := rest.raw(1)[0]
	path := string(rest.bytes())
	switch command {
	case 'W':
		wanted := options(rest.bytes())
		check(writeOn(open(path, wanted), path, wanted, &rest).Close())
	case 'K':
		wanted := options(rest.bytes())
		database := kept[path]
		if database == nil {
			database = open(path, wanted)
		}
		kept[path] = writeOn(database, path, wanted, &rest)
	case 'C':
		check(kept[path].Close())
		delete(kept, path)
	case 'P':
		database, err := leveldb.RecoverFile(path, &opt.Options{CompactionTableSize: 64 << 10})
		check(err)
		check(database.Close())
	case 'D':
		// A log may be torn, and an owner goes on behind that.
		out = dump(path, opt.StrictAll&^opt.StrictJournal)
	case 'A':
		out = dump(path, opt.StrictAll)
	default:
		panic(fmt.Sprintf("command %q", command))
	}
	return
}

func main() {
	requests, answers := bufio.NewReader(os.Stdin), os.Stdout
	var length [4]byte
	for {
		if _, err := io.ReadFull(requests, length[:]); err != nil {
			return
		}
		request := make(fields, binary.LittleEndian.Uint32(length[:]))
		_, err := io.ReadFull(requests, request)
		check(err)
		out, failure := answer(request)
		status := byte(0)
		if failure != nil {
			status, out = 1, []byte(failure.Error())
		}
		binary.LittleEndian.PutUint32(length[:], uint32(len(out)+1))
		_, err = answers.Write(append(append(length[:], status), out...))
		check(err)
	}
}
