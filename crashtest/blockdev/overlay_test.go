//go:build linux

package blockdev_test

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"github.com/seawall-wal/seawall/crashtest/blockdev"
)

// TestOverlay: an image that lies on a view hides its blocks, and no others.
func TestOverlay(t *testing.T) {
	t.Parallel()
	l := newLab(t, 64*blockdev.BlockBytes)
	block := func(c byte) []byte { return bytes.Repeat([]byte{c}, blockdev.BlockBytes) }
	below, err := l.Load(blockdev.Image{1: block('a'), 2: block('b')})
	if err != nil {
		t.Fatal(err)
	}
	above, err := l.Overlay(below, blockdev.Image{2: block('c'), 3: block('d')})
	if err != nil {
		t.Fatal(err)
	}
	for view, want := range map[*blockdev.View]string{&below: "\x00ab\x00\x00", &above: "\x00acd\x00"} {
		got, rerr := l.ReadView(*view, 0, int64(len(want))*blockdev.BlockBytes)
		must(t, rerr)
		for n := range want {
			if !bytes.Equal(got[n*blockdev.BlockBytes:][:blockdev.BlockBytes], block(want[n])) {
				t.Errorf("block %d of %q is %q", n, want, got[n*blockdev.BlockBytes])
			}
		}
	}
	if _, err = l.Overlay(blockdev.View{Layer: 999}, nil); err == nil {
		t.Error("an image lies on a view that there is not")
	}
}

// TestFlipInPart: a bit flips among the bytes that the fault chooses.
func TestFlipInPart(t *testing.T) {
	t.Parallel()
	l := newLab(t, 64*blockdev.BlockBytes)
	d := l.Disks[0]
	for seed := range uint64(20) {
		const off, length = 2*blockdev.BlockBytes + 100, 3
		err := d.Fork(blockdev.View{}, blockdev.Fault{Op: blockdev.Read, Effect: blockdev.Flip, Off: off, Length: length, Always: true, Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		f, got := openDevice(t, d, os.O_RDONLY), make([]byte, 8*blockdev.BlockBytes)
		_, err = f.ReadAt(got, 0)
		must(t, errors.Join(err, f.Close()))
		for i, b := range got {
			if b != 0 && (i < off || i >= off+length) {
				t.Errorf("seed %d: byte %d is %#x", seed, i, b)
			}
		}
		if bytes.Equal(got, make([]byte, len(got))) {
			t.Errorf("seed %d: no bit has flipped", seed)
		}
	}
}
