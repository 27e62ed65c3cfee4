// goleveldb as a long-running servant of the tests: tests/oracle/oracle.py says how it is spoken to. It knows W, D, A, K,
// C and P (which is Recover). Its tables and levels are small, so that small databases have many.
//
// More operations: t and le32 n, the next n puts and deletes are a transaction; a compacts all beside what follows; h does the
// same on a disk that is so slow that the memtable's table is not finished before f (or ten seconds).
package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/filter"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/storage"
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

// A disk on which the next table takes until it is let go.
type disk struct {
	storage.Storage
	lock    sync.Mutex
	next    bool
	reached chan struct{}
	release chan struct{}
}

type slowTable struct {
	storage.Writer
	disk *disk
	once sync.Once
}

func (table *slowTable) Sync() error {
	table.once.Do(func() {
		close(table.disk.reached)
		select {
		case <-table.disk.release:
		case <-time.After(10 * time.Second):
		}
	})
	return table.Writer.Sync()
}

func (slow *disk) Create(file storage.FileDesc) (storage.Writer, error) {
	writer, err := slow.Storage.Create(file)
	slow.lock.Lock()
	defer slow.lock.Unlock()
	if err == nil && slow.next && file.Type == storage.TypeTable {
		slow.next = false
		return &slowTable{Writer: writer, disk: slow}, nil
	}
	return writer, err
}

// A database, its disk, and the compactions that run beside its writes.
type owner struct {
	*leveldb.DB
	disk   *disk
	beside sync.WaitGroup
}

func open(path string, options *opt.Options) *owner {
	files, err := storage.OpenFile(path, false)
	check(err)
	slow := &disk{Storage: files}
	database, err := leveldb.Open(slow, options)
	if err != nil {
		files.Close()
	}
	check(err)
	return &owner{DB: database, disk: slow}
}

func (database *owner) close() {
	database.letGo()
	check(database.DB.Close())
	check(database.disk.Storage.Close())
}

func (database *owner) compactBeside() chan struct{} {
	done := make(chan struct{})
	database.beside.Add(1)
	go func() {
		defer database.beside.Done()
		defer close(done)
		check(database.CompactRange(util.Range{}))
	}()
	return done
}

// Ends when the table is written but for its sync, or nothing had to be.
func (database *owner) hold() {
	slow := database.disk
	slow.lock.Lock()
	slow.reached, slow.release, slow.next = make(chan struct{}), make(chan struct{}), true
	slow.lock.Unlock()
	done := database.compactBeside()
	select {
	case <-slow.reached:
	case <-done:
	}
}

func (database *owner) letGo() {
	slow := database.disk
	slow.lock.Lock()
	slow.next = false
	if slow.release != nil {
		close(slow.release)
		slow.release = nil
	}
	slow.lock.Unlock()
	database.beside.Wait()
}

func (database *owner) commit(batch *leveldb.Batch) {
	transaction, err := database.OpenTransaction()
	check(err)
	check(transaction.Write(batch, nil))
	check(transaction.Commit())
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

func writeOn(database *owner, path string, options *opt.Options, rest *fields) *owner {
	for len(*rest) > 0 {
		batch, count, kind := new(leveldb.Batch), uint32(1), (*rest)[0]
		switch kind {
		case 'r':
			rest.raw(1)
			database.close()
			database = open(path, options)
			continue
		case 'c':
			rest.raw(1)
			check(database.CompactRange(util.Range{}))
			continue
		case 'a':
			rest.raw(1)
			database.compactBeside()
			continue
		case 'h':
			rest.raw(1)
			database.hold()
			continue
		case 'f':
			rest.raw(1)
			database.letGo()
			continue
		case 'b', 't':
			rest.raw(1)
			count = rest.number()
		}
		for ; count > 0; count-- {
			addChange(batch, rest)
		}
		if kind == 't' {
			database.commit(batch)
		} else {
			check(database.Write(batch, nil))
		}
	}
	return database
}

func dump(path string, strict opt.Strict) (out []byte) {
	database := open(path, &opt.Options{ErrorIfMissing: true, Strict: strict})
	defer database.close()
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

var kept = map[string]*owner{}

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
		writeOn(open(path, wanted), path, wanted, &rest).close()
	case 'K':
		wanted := options(rest.bytes())
		database := kept[path]
		if database == nil {
			database = open(path, wanted)
		}
		kept[path] = writeOn(database, path, wanted, &rest)
	case 'C':
		kept[path].close()
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
