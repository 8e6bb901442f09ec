// Known-diskv writes values by diskv, and looks at what a power cut left:
//
//	known-diskv work DIR write|sync [temp]
//	known-diskv acked DIR ACKS
//	known-diskv whole DIR
//
// A value is written by Write, or by WriteStream with sync, into its file or into one in a
// temporary directory that is renamed; it is acknowledged then.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/peterbourgon/diskv/v3"
)

// store returns the store in a directory.
func store(dir string, temp bool) *diskv.Diskv {
	o := diskv.Options{BasePath: filepath.Join(dir, "values")}
	if temp {
		o.TempDir = filepath.Join(dir, "temp")
	}
	return diskv.New(o)
}

// key returns the n-th key, and value its value.
func key(n int) string   { return strconv.Itoa(n) }
func value(n int) []byte { return bytes.Repeat([]byte(key(n)+"\n"), 500+n*97%1000) }

// work writes twelve values.
func work(dir, how string, temp bool) error {
	d := store(dir, temp)
	last := 0
	for k := range d.Keys(nil) {
		if n, err := strconv.Atoi(k); err == nil {
			last = max(last, n)
		}
	}
	for n := last + 1; n <= last+12; n++ {
		var err error
		switch how {
		case "write":
			err = d.Write(key(n), value(n))
		case "sync":
			err = d.WriteStream(key(n), bytes.NewReader(value(n)), true)
		default:
			err = fmt.Errorf("neither write nor sync: %q", how)
		}
		if err != nil {
			return err
		}
		fmt.Println("ack", n)
	}
	return nil
}

// acked looks for all values that were acknowledged.
func acked(dir, acks string) error {
	text, err := os.ReadFile(acks)
	if err != nil {
		return err
	}
	d := store(dir, false)
	for _, k := range strings.Fields(string(text)) {
		n, err := strconv.Atoi(k)
		if err != nil {
			return err
		}
		found, err := d.Read(k)
		if err != nil {
			return fmt.Errorf("value %d was written: %w", n, err)
		}
		if !bytes.Equal(found, value(n)) {
			return fmt.Errorf("value %d was written, and has %d bytes of %d", n, len(found), len(value(n)))
		}
	}
	return nil
}

// whole looks at all values that are there.
func whole(dir string) error {
	d := store(dir, false)
	for k := range d.Keys(nil) {
		n, err := strconv.Atoi(k)
		if err != nil {
			return err
		}
		found, err := d.Read(k)
		if err != nil {
			return err
		}
		if !bytes.Equal(found, value(n)) {
			return fmt.Errorf("value %d has %d bytes of %d, or others", n, len(found), len(value(n)))
		}
	}
	return nil
}

func main() {
	err := errors.New("usage: known-diskv work DIR write|sync [temp], or acked DIR ACKS, or whole DIR")
	if args := append(os.Args[1:], "", ""); len(args) > 3 {
		switch args[0] {
		case "work":
			err = work(args[1], args[2], args[3] == "temp")
		case "acked":
			err = acked(args[1], args[2])
		case "whole":
			err = whole(args[1])
		}
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
