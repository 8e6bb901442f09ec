package wal_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/seawall-wal/seawall/wal"
)

// exampleDir returns a directory for an example, and what removes it.
func exampleDir() (string, func()) {
	dir, err := os.MkdirTemp("", "seawall-example-")
	if err != nil {
		log.Fatal(err)
	}
	return filepath.Join(dir, "log"), func() { _ = os.RemoveAll(dir) }
}

// A record survives the death of the process when Append returns, and power
// loss when Commit does.
func Example() {
	dir, remove := exampleDir()
	defer remove()
	l, err := wal.Open(dir, wal.Options{})
	if err != nil {
		log.Fatal(err)
	}
	lsn, err := l.Append([]byte("set x 1"))
	if err != nil {
		log.Fatal(err)
	}
	if err := l.Commit(context.Background(), lsn); err != nil {
		log.Fatal(err)
	}
	fmt.Println("durable up to", l.DurableLSN())
	if err := l.Close(); err != nil {
		log.Fatal(err)
	}
	// Output: durable up to 1
}

// Open continues a log where it ended, and says what it found.
func ExampleOpen() {
	dir, remove := exampleDir()
	defer remove()
	for range 2 {
		l, err := wal.Open(dir, wal.Options{Sync: wal.SyncEach})
		var damaged *wal.CorruptError
		if errors.As(err, &damaged) {
			log.Fatalf("records %d to %d are lost", damaged.FirstLSN, damaged.LastLSN)
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(l.Recovery().Verdict, "with", l.LastLSN(), "records")
		if _, err := l.Append([]byte("a record")); err != nil {
			log.Fatal(err)
		}
		if err := l.Close(); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// clean with 0 records
	// clean with 1 records
}

// The records of a batch are in the log all together or not at all.
func ExampleLog_AppendBatch() {
	dir, remove := exampleDir()
	defer remove()
	l, err := wal.Open(dir, wal.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	last, err := l.AppendBatch([][]byte{[]byte("debit 5"), []byte("credit 5")})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("the last one has LSN", last)
	// Output: the last one has LSN 2
}

// A reader goes through the records from any LSN on.
func ExampleLog_Reader() {
	dir, remove := exampleDir()
	defer remove()
	l, err := wal.Open(dir, wal.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	for _, s := range []string{"one", "two", "three"} {
		if _, err := l.Append([]byte(s)); err != nil {
			log.Fatal(err)
		}
	}
	r := l.Reader(2)
	defer r.Close()
	for r.Next() {
		fmt.Printf("%d %s\n", r.LSN(), r.Record())
	}
	if err := r.Err(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// 2 two
	// 3 three
}

// Verify reads a log without a lock on it, and without writing.
func ExampleVerify() {
	dir, remove := exampleDir()
	defer remove()
	l, err := wal.Open(dir, wal.Options{SegmentBytes: 1 << 20})
	if err != nil {
		log.Fatal(err)
	}
	if _, err = l.Append([]byte("precious")); err != nil {
		log.Fatal(err)
	}
	if err = l.Close(); err != nil {
		log.Fatal(err)
	}
	rep, err := wal.Verify(dir)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(rep.Verdict, rep.Records, "record, durable up to", rep.DurableLSN)

	// A bit of the record is lost.
	name := filepath.Join(dir, rep.Segments[0].Name)
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	if _, err = f.WriteAt([]byte("P"), rep.Segments[0].Bytes-8); err != nil {
		log.Fatal(err)
	}
	if rep, err = wal.Verify(dir); err != nil {
		log.Fatal(err)
	}
	d := rep.Damage[0]
	fmt.Printf("%v: %s at %d, records %d to %d: %s\n", rep.Verdict, d.File, d.Offset, d.FirstLSN, d.LastLSN, d.Reason)
	// Output:
	// clean 1 record, durable up to 1
	// damaged: 0000000000000001.wal at 20480, records 1 to 1: the payload does not match its checksum
}

// Dump hands out the records of a log that may be in use, or damaged.
func ExampleDump() {
	dir, remove := exampleDir()
	defer remove()
	l, err := wal.Open(dir, wal.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	for _, s := range []string{"one", "two", "three", "four"} {
		if _, err = l.Append([]byte(s)); err != nil {
			log.Fatal(err)
		}
	}
	rep, err := wal.Dump(dir, wal.DumpOptions{From: 2, To: 3}, func(lsn wal.LSN, p []byte) error {
		fmt.Printf("%d %s\n", lsn, p)
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(rep.Verdict, "live:", rep.Live)
	// Output:
	// 2 two
	// 3 three
	// clean live: true
}
