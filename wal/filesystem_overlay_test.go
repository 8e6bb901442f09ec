package wal_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/wal"
)

// TestOverlayFollowed reads a log that lies in the lower layer of an overlay, as in a
// container's image, while the first writer has it copied to the upper layer.
func TestOverlayFollowed(t *testing.T) {
	if os.Getuid() != 0 {
		cannotRun(t, "needs root to mount an overlay")
	}
	for name, first := range map[string]int{"in one segment": 3, "in several": 14} {
		t.Run(name, func(t *testing.T) {
			root := fastDir(t)
			dir := func(name string) string { return filepath.Join(root, name) }
			for _, name := range []string{"lower", "upper", "work", "merged"} {
				must(t, os.Mkdir(dir(name), 0o755))
			}
			l, err := wal.Open(filepath.Join(dir("lower"), "log"), small())
			must(t, err)
			appendRecords(t, l, first, 10000)
			must(t, l.Close())
			options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", dir("lower"), dir("upper"), dir("work"))
			must(t, unix.Mount("overlay", dir("merged"), "overlay", 0, options))
			t.Cleanup(func() { must(t, unmount(dir("merged"))) })

			ctx, stop := context.WithTimeout(t.Context(), patience)
			defer stop()
			path := filepath.Join(dir("merged"), "log")
			o, err := wal.OpenReader(path)
			must(t, err)
			r, behind := o.Reader(0), o.Reader(wal.LSN(first)+1)
			defer func() {
				for _, c := range []interface{ Close() error }{r, behind, o} {
					must(t, c.Close())
				}
			}()
			want := wal.LSN(1)
			for ; r.Next(); want++ {
				wantHeld(t, "before the writer", r, want, 10000)
			}
			if want != wal.LSN(first)+1 || behind.Next() {
				t.Fatalf("ended before record %d: %v, %v", want, r.Err(), behind.Err())
			}
			next := wal.LSN(first) + 1
			for range 2 {
				l, err = wal.Open(path, small())
				must(t, err)
				for range 9 { // over several segments
					appendRecords(t, l, 1, 10000)
					if !behind.Follow(ctx) {
						t.Fatalf("record %d: %v", next, behind.Err())
					}
					wantHeld(t, "followed", behind, next, 10000)
					next++
				}
				must(t, l.Close())
			}
			for ; want < next && r.Follow(ctx); want++ {
				wantHeld(t, "read on", r, want, 10000)
			}
			if want != next {
				t.Errorf("ended before record %d of %d: %v", want, next, r.Err())
			}
		})
	}
}
