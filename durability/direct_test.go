package durability_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
)

// randomFile makes a file of random bytes, and returns them.
func randomFile(t *testing.T, size int64) (*durability.File, []byte, *rand.Rand) {
	t.Helper()
	rng := newRand(t)
	content := make([]byte, size)
	for i := range content {
		content[i] = byte(rng.Uint32())
	}
	f := newFile(t, newDir(t, nil), "f", 0)
	_, err := f.WriteAt(content, 0)
	must(t, err)
	return f, content, rng
}

// TestReadDirect reads at any offset and length what was written, dirty pages
// included, and ends like io.ReaderAt.
func TestReadDirect(t *testing.T) {
	t.Parallel()
	const size = 3<<20 + 777
	f, content, rng := randomFile(t, size)
	check := func(off, n int64) {
		p := bytes.Repeat([]byte{0xee}, int(n))
		got, _, err := f.ReadDirect(p, off)
		end := min(off+n, size)
		want := content[min(off, size):max(end, min(off, size))]
		wantErr := error(nil)
		if int64(len(want)) < n {
			wantErr = io.EOF
		}
		if !bytes.Equal(p[:got], want) || err != wantErr { //nolint:errorlint // io.EOF itself
			t.Errorf("ReadDirect(%d bytes, %d): %d bytes, %v; want %d, %v", n, off, got, err, len(want), wantErr)
		}
		if n := bytes.Count(p[got:], []byte{0xee}); n != len(p)-got {
			t.Errorf("ReadDirect(%d bytes, %d) wrote behind the %d bytes that it returned", n, off, got)
		}
	}
	for _, off := range []int64{0, 1, 511, 512, 4095, 4096, 1<<20 - 1, 1 << 20, size - 1, size, size + 1, size + 9999} {
		for _, n := range []int64{0, 1, 511, 512, 4096, 4097, 1 << 20, 1<<20 + 1, size, size + 1} {
			check(off, n)
		}
	}
	for range 50 {
		check(rng.Int64N(size), rng.Int64N(size/2))
	}
	_, _, err := f.ReadDirect(make([]byte, 1), -1)
	wantErr(t, err, unix.EINVAL, f.Path())
}

// TestReadDirectGoesAround checks that a direct read leaves the page cache
// empty, and that a buffered one says so.
func TestReadDirectGoesAround(t *testing.T) {
	t.Parallel()
	f, content, _ := randomFile(t, 1<<20)
	must(t, f.Sync())
	if fsys, err := f.Filesystem(); err == nil && fsys.Durable {
		dropped(t, f)
	}
	if f.DirectReason() != "" {
		t.Errorf("a reason before the first read: %q", f.DirectReason())
	}
	p := make([]byte, len(content))
	_, how, err := f.ReadDirect(p, 0)
	must(t, err)
	if !bytes.Equal(p, content) {
		t.Error("the bytes differ")
	}
	if how == durability.ModeBuffered {
		if f.DirectReason() == "" {
			t.Error("a buffered read gives no reason")
		}
		cannot(t, "no direct reads here: "+f.DirectReason())
	}
	if how != durability.ModeDirect || f.DirectReason() != "" {
		t.Errorf("the mode is %v, the reason %q", how, f.DirectReason())
	}
	pc, err := f.PageCache(0, 0)
	must(t, err)
	if pc.Known != durability.Known {
		cannot(t, "needs cachestat(2): "+pc.Reason)
	}
	if pc.Cached != 0 {
		t.Errorf("a direct read left %d pages in the page cache", pc.Cached)
	}
}

// TestReadDirectSurvivesRename reads the file that is open, not the one of its
// name.
func TestReadDirectSurvivesRename(t *testing.T) {
	t.Parallel()
	f, content, _ := randomFile(t, 8192)
	d := openDir(t, f.Path()[:len(f.Path())-2], nil)
	must(t, d.Remove("f"))
	newFile(t, d, "f", 8192)
	p := make([]byte, 8192)
	_, how, err := f.ReadDirect(p, 0)
	must(t, err)
	if !bytes.Equal(p, content) {
		t.Errorf("a %v read of a file that was replaced has other bytes", how)
	}
}

// TestEndDirect gives the second descriptor back, as often as there is one.
func TestEndDirect(t *testing.T) {
	t.Parallel()
	f, content, _ := randomFile(t, 8192)
	must(t, f.EndDirect())
	for round := range 3 {
		p := make([]byte, 8192)
		_, how, err := f.ReadDirect(p, 0)
		must(t, err)
		want := 1
		if how == durability.ModeDirect {
			want = 2
		}
		if n := len(descriptors(t, f.Path())); !bytes.Equal(p, content) || n != want {
			t.Errorf("round %d: %v, %d descriptors, want %d", round, how, n, want)
		}
		must(t, f.EndDirect())
		if n := len(descriptors(t, f.Path())); n != 1 {
			t.Errorf("round %d: %d descriptors left, want the file's own", round, n)
		}
	}
	must(t, f.Close())
	must(t, f.EndDirect())
}

// TestReadHooks alters what is read, as a bit flip of the device would.
func TestReadHooks(t *testing.T) {
	t.Parallel()
	f, content, _ := randomFile(t, 8192)
	durabilitytest.Inject(t, f.Path()[:len(f.Path())-2], func(c *durabilitytest.Call) error {
		if c.Phase == durability.After && (c.Op == durabilitytest.OpRead || c.Op == durabilitytest.OpReadDirect) {
			if c.Offset != 100 || c.Length != 50 || len(c.Data) != 50 {
				t.Errorf("the call is about %d bytes of [%d, +%d)", len(c.Data), c.Offset, c.Length)
			}
			c.Data[7] ^= 1
		}
		return nil
	})
	want := bytes.Clone(content[100:150])
	want[7] ^= 1
	p, q := make([]byte, 50), make([]byte, 50)
	_, err := f.ReadAt(p, 100)
	must(t, err)
	_, _, err = f.ReadDirect(q, 100)
	must(t, err)
	if !bytes.Equal(p, want) || !bytes.Equal(q, want) {
		t.Error("the hook's change is not in what was read")
	}
}
