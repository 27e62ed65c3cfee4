// writer.py for goleveldb:  writer DB ACKS BUFFER VALUE PACE_US [--compact] [--first N]
//
// With --compact all of it is compacted again and again, and some batches are transactions.
// A batch above the write buffer goes straight to a table, past the journal.
package main

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/util"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func padded(text string, length int) string {
	return text + strings.Repeat("x", max(0, length-len(text)))
}

func max(a, b int) int {
	if a > b {
		return a
	}
	return b
}

func fill(batch *leveldb.Batch, number, value int) {
	text := strconv.Itoa(number)
	for counter := 0; counter < 16; counter++ {
		batch.Put([]byte(fmt.Sprintf("counter/%02d", counter)), []byte(text))
	}
	batch.Put([]byte(fmt.Sprintf("log/%012d", number)), []byte(text))
	if number > 400 {
		batch.Delete([]byte(fmt.Sprintf("log/%012d", number-400)))
	}
	for index := 0; index < 4; index++ {
		chance := crc32.ChecksumIEEE([]byte(fmt.Sprintf("%d/%d", number, index)))
		key := []byte(fmt.Sprintf("key/%04d", chance%500))
		if chance/500%5 == 0 {
			batch.Delete(key)
		} else {
			batch.Put(key, []byte(padded(fmt.Sprintf("%d:%d:", number, index), value)))
		}
	}
}

// Each one rotates the log, and an empty one goes without an edit.
func compactAlways(database *leveldb.DB, pause int) {
	for {
		check(database.CompactRange(util.Range{}))
		time.Sleep(time.Duration(pause) * time.Microsecond)
	}
}

func commit(database *leveldb.DB, batch *leveldb.Batch) {
	transaction, err := database.OpenTransaction()
	check(err)
	check(transaction.Write(batch, nil))
	check(transaction.Commit())
}

func main() {
	buffer, err := strconv.Atoi(os.Args[3])
	check(err)
	value, err := strconv.Atoi(os.Args[4])
	check(err)
	pace, err := strconv.Atoi(os.Args[5])
	check(err)
	database, err := leveldb.OpenFile(os.Args[1], &opt.Options{WriteBuffer: buffer, CompactionTableSize: 1 << 20})
	check(err)
	acks, err := os.OpenFile(os.Args[2], os.O_RDWR, 0)
	check(err)
	compact, first := false, 0
	for index, word := range os.Args {
		compact = compact || word == "--compact"
		if word == "--first" {
			first, err = strconv.Atoi(os.Args[index+1])
			check(err)
		}
	}
	if text, err := database.Get([]byte("counter/00"), nil); err == nil {
		first, err = strconv.Atoi(string(text))
		check(err)
	}
	if compact {
		go compactAlways(database, 10*pace)
	}
	bytes := make([]byte, 8)
	for number := first + 1; ; number++ {
		batch := new(leveldb.Batch)
		fill(batch, number, value)
		if compact && number%3 == 0 {
			commit(database, batch)
		} else {
			check(database.Write(batch, nil))
		}
		binary.LittleEndian.PutUint64(bytes, uint64(number))
		_, err := acks.WriteAt(bytes, 0)
		check(err)
		time.Sleep(time.Duration(pace) * time.Microsecond)
	}
}
