// Known-goleveldb puts keys into a database of goleveldb, and looks at what a power cut left:
//
//	known-goleveldb work DIR
//	known-goleveldb acked DIR ACKS
//	known-goleveldb whole DIR
//
// A key is put with Sync, and acknowledged then. The database is closed and opened again in
// between, so that its manifest is made anew. What was acknowledged is looked for after a
// repair, too, where the database does not open.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/opt"
)

// options make tables of few keys.
var options = &opt.Options{WriteBuffer: 8 << 10}

// key returns the n-th key, and value its value.
func key(n int) []byte   { return []byte(fmt.Sprintf("%06d", n)) }
func value(n int) []byte { return bytes.Repeat(key(n), n*977%400) }

// open opens the database, by a repair where it has to.
func open(dir string) (*leveldb.DB, error) {
	db, err := leveldb.OpenFile(dir, options)
	if err != nil {
		return leveldb.RecoverFile(dir, options)
	}
	return db, nil
}

// count returns how many keys there are, which have to be the first ones.
func count(db *leveldb.DB) (n int, err error) {
	it := db.NewIterator(nil, nil)
	defer it.Release()
	for it.Next() {
		n++
		if !bytes.Equal(it.Key(), key(n)) || !bytes.Equal(it.Value(), value(n)) {
			return n, fmt.Errorf("key %s in place of %d, or another value", it.Key(), n)
		}
	}
	return n, it.Error()
}

// work puts four keys, and again, each after the database was opened.
func work(dir string) error {
	for range 3 {
		db, err := open(dir)
		if err != nil {
			return err
		}
		n, err := count(db)
		for i := n + 1; i <= n+4 && err == nil; i++ {
			if err = db.Put(key(i), value(i), &opt.WriteOptions{Sync: true}); err == nil {
				fmt.Println("ack", i)
			}
		}
		if err = errors.Join(err, db.Close()); err != nil {
			return err
		}
	}
	return nil
}

// acked looks for all keys up to the last one that was acknowledged.
func acked(dir, acks string) error {
	text, err := os.ReadFile(acks)
	if err != nil {
		return err
	}
	tokens := strings.Fields(string(text))
	wanted, err := strconv.Atoi(tokens[len(tokens)-1])
	if err != nil {
		return err
	}
	// A repair changes what is there, which whole has to see as it was left.
	repaired := dir + "-acked"
	defer os.RemoveAll(repaired)
	if err = os.CopyFS(repaired, os.DirFS(dir)); err != nil {
		return err
	}
	db, err := open(repaired)
	if err != nil {
		return err
	}
	defer db.Close()
	for n := 1; n <= wanted; n++ {
		if v, err := db.Get(key(n), nil); err != nil || !bytes.Equal(v, value(n)) {
			return fmt.Errorf("key %d was put, of %d: %v", n, wanted, err)
		}
	}
	return nil
}

// whole opens the database without a repair, if there is one.
func whole(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "CURRENT")); err != nil {
		return nil
	}
	db, err := leveldb.OpenFile(dir, options)
	if err != nil {
		return err
	}
	_, err = count(db)
	return errors.Join(err, db.Close())
}

func main() {
	err := errors.New("usage: known-goleveldb work|acked|whole DIR [ACKS]")
	if args := append(os.Args[1:], ""); len(args) > 2 {
		switch dir := filepath.Join(args[1], "db"); args[0] {
		case "work":
			err = work(dir)
		case "acked":
			err = acked(dir, args[2])
		case "whole":
			err = whole(dir)
		}
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
