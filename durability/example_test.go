package durability_test

import (
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/seawall-wal/seawall/durability"
)

// A mapping that is written, made durable, and then truncated by another process:
// the store that would kill the process returns an error.
func ExampleMapping() {
	path, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(path)
	dir, err := durability.OpenDir(path, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer dir.Close()

	f, err := dir.Create("counter", 0o644)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	if err = f.Allocate(1<<16, durability.AllocateOptions{}); err != nil {
		log.Fatal(err) // a full disk says so here
	}
	m, err := f.Map(1<<16, true)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = m.Unmap() }()
	expected, err := f.Expect()
	if err != nil {
		log.Fatal(err)
	}
	if err = errors.Join(f.Sync(), dir.Sync()); err != nil { // content, and name
		log.Fatal(err)
	}

	err = m.StoreUint64(0, 42) // survives this process
	if err == nil {
		err = m.Sync(0, 8) // survives power loss
	}
	if err == nil {
		err = f.Check(expected) // no process took it away since
	}
	fmt.Println("acknowledged:", err == nil)

	if err = os.Truncate(f.Path(), 0); err != nil {
		log.Fatal(err)
	}
	var fault *durability.FaultError
	err = m.StoreUint64(0, 43)
	fmt.Println("fault:", errors.As(err, &fault), fault.Op, fault.Offset)
	// Output:
	// acknowledged: true
	// fault: true store 0
}

// Code that touches mapped bytes itself runs inside Guard.
func ExampleGuard() {
	path, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(path)
	if err = durability.WriteFile(filepath.Join(path, "data"), make([]byte, 1<<20), 0o644); err != nil {
		log.Fatal(err)
	}
	dir, err := durability.OpenDir(path, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer dir.Close()
	f, err := dir.Open("data", true)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	m, err := f.Map(1<<20, false)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = m.Unmap() }()

	sum := func() (n int, err error) {
		err = durability.Guard(func() error {
			for _, b := range m.Bytes() {
				n += int(b)
			}
			return nil
		})
		return n, err
	}
	n, err := sum()
	fmt.Println(n, err)

	if err = f.Truncate(0); err != nil {
		log.Fatal(err)
	}
	_, err = sum()
	var fault *durability.FaultError
	fmt.Println("fault:", errors.As(err, &fault))
	// Output:
	// 0 <nil>
	// fault: true
}

// A file that is complete or absent, whenever the power goes.
func ExampleCreateFile() {
	path, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(path)
	name := filepath.Join(path, "identity")

	fmt.Println(durability.CreateFile(name, []byte("first"), 0o600))
	err = durability.CreateFile(name, []byte("second"), 0o600)
	fmt.Println("exists:", errors.Is(err, os.ErrExist))
	data, err := os.ReadFile(name)
	fmt.Printf("%s %v\n", data, err)
	// Output:
	// <nil>
	// exists: true
	// first <nil>
}

// A file that has its old content or its new, whenever the power goes.
func ExampleWriteFile() {
	path, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(path)
	name := filepath.Join(path, "config")

	for _, version := range []string{"version 1", "version 2"} {
		if err = durability.WriteFile(name, []byte(version), 0o644); err != nil {
			log.Fatal(err)
		}
	}
	data, err := os.ReadFile(name)
	fmt.Printf("%s %v\n", data, err)
	// Output:
	// version 2 <nil>
}
