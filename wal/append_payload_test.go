package wal_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal"
)

// tracerFunc is a Tracer.
type tracerFunc func(durability.Event)

// Trace implements durability.Tracer.
func (f tracerFunc) Trace(e durability.Event) { f(e) }

// payloadBytes is the length of the payloads of these tests: some pages, of which
// the first is read before the fault.
const payloadBytes = 16 << 10

// mappedPayload is a payload that lies in a mapping, and what truncates its file.
type mappedPayload struct {
	bytes []byte
	cut   func() error
}

// foreignPayload maps a file by itself.
func foreignPayload(t *testing.T) mappedPayload {
	f, err := os.Create(filepath.Join(t.TempDir(), "payload"))
	must(t, err)
	t.Cleanup(func() { f.Close() })
	must(t, f.Truncate(payloadBytes))
	p, err := unix.Mmap(int(f.Fd()), 0, payloadBytes, unix.PROT_READ, unix.MAP_SHARED)
	must(t, err)
	t.Cleanup(func() { _ = unix.Munmap(p) })
	return mappedPayload{p, func() error { return f.Truncate(4096) }}
}

// ownPayload maps a file by package durability, which makes a fault an error.
func ownPayload(t *testing.T) mappedPayload {
	d, err := durability.OpenDir(t.TempDir(), nil)
	must(t, err)
	t.Cleanup(func() { d.Close() })
	f, err := d.Create("payload", 0o600)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	must(t, f.Truncate(payloadBytes))
	m, err := f.Map(payloadBytes, false)
	must(t, err)
	t.Cleanup(func() { _ = m.Unmap() })
	return mappedPayload{m.Bytes(), func() error { return f.Truncate(4096) }}
}

// TestPayloadThatFaults appends records whose payload lies in a mapping of the
// caller's, and whose file is truncated between its checksum and its copy. That is
// the caller's error, or panic; nothing of it is in the log, which goes on.
func TestPayloadThatFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		make   func(*testing.T) mappedPayload
		panics bool
		append func(*wal.Log, []byte) (wal.LSN, error)
	}{
		{"foreign", foreignPayload, true, (*wal.Log).Append},
		{"foreign, in a batch", foreignPayload, true, func(l *wal.Log, p []byte) (wal.LSN, error) {
			return l.AppendBatch([][]byte{[]byte("first"), p, []byte("last")})
		}},
		{"own", ownPayload, false, (*wal.Log).Append},
		{"own, in a batch", ownPayload, false, func(l *wal.Log, p []byte) (wal.LSN, error) {
			return l.AppendBatch([][]byte{[]byte("first"), p, []byte("last")})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var cut func() error
			o := small()
			o.Tracer = tracerFunc(func(e durability.Event) {
				if e.Op == durability.OpStore && len(e.Data2) == payloadBytes && cut != nil {
					if err := cut(); err != nil {
						t.Error(err)
					}
					cut = nil
				}
			})
			l := openLog(t, filepath.Join(fastDir(t), logName), o)
			appendRecords(t, l, 2, 100)
			p := c.make(t)
			cut = p.cut
			err, panicked := errors.New("nothing was returned"), false
			func() {
				defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
				defer func() { panicked = recover() != nil }()
				_, err = c.append(l, p.bytes)
			}()
			var fault *durability.FaultError
			if panicked != c.panics || !panicked && (!errors.As(err, &fault) || errors.Is(err, wal.ErrNoSpace) || errors.Is(err, wal.ErrPoisoned)) {
				t.Fatalf("panicked %v, %v", panicked, err)
			}
			if fault != nil && fault.Op != "load" {
				t.Errorf("the payload could not be read, and the fault is a %s", fault.Op)
			}
			if l.LastLSN() != 2 {
				t.Errorf("the last is %d", l.LastLSN())
			}
			appendRecords(t, l, 2, 100)
			must(t, l.Sync())
			for lsn := wal.LSN(1); lsn <= 4; lsn++ {
				p, err := l.Get(lsn)
				must(t, err)
				wantRecord(t, lsn, 100, p)
			}
		})
	}
}

// TestOnDurablePanics lets OnDurable panic once, within each call that syncs, in a
// caller that recovers from it: no other goroutine waits for ever for what that call held.
func TestOnDurablePanics(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]func(*wal.Log) error{
		// A context that cannot end: the caller leads the round itself.
		"commit":         func(l *wal.Log) error { return l.Commit(context.Background(), l.LastLSN()) },
		"sync":           (*wal.Log).Sync,
		"checkpoint":     (*wal.Log).Checkpoint,
		"truncate front": func(l *wal.Log) error { return l.TruncateFront(2) },
		"truncate back":  func(l *wal.Log) error { return l.TruncateBack(2) },
		"reset":          func(l *wal.Log) error { return l.Reset(9) },
		"close":          (*wal.Log).Close,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			armed := true
			o := small()
			o.OnDurable = func(wal.LSN) {
				if armed {
					armed = false
					panic("a callback's fault")
				}
			}
			dir := filepath.Join(fastDir(t), logName)
			l, err := wal.Open(dir, o)
			must(t, err)
			_, err = l.AppendBatch([][]byte{[]byte("a"), []byte("b"), []byte("c")})
			must(t, err)
			func() {
				defer func() {
					if recover() == nil {
						t.Error("the panic was swallowed")
					}
				}()
				_ = call(l)
			}()
			if name != "close" {
				_, err = l.Append([]byte("d"))
				must(t, err)
				must(t, l.Commit(t.Context(), l.LastLSN()))
				must(t, l.Checkpoint())
				must(t, l.Close())
			}
			l, err = wal.Open(dir, o) // nothing holds the lock
			must(t, err)
			must(t, l.Close())
		})
	}
}
