package probe

import (
	"bytes"
	"fmt"

	"github.com/seawall-wal/seawall/durability"
)

const promiseBytes = 64 << 10

// measurePromise stores and writes bytes and looks for them by the other way, and on
// the device after a sync.
func measurePromise(b *bench) (func(*Result), error) {
	p := Promise{Reached: "unknown"}
	kind, kerr := b.probed.Filesystem()
	if kerr != nil {
		return nil, kerr
	}
	err := p.look(b)
	return func(r *Result) {
		p.words(kind, r.Filesystem.Kind)
		r.Promise = p
	}, err
}

// look tries whether a mapping and a descriptor show the same bytes, and what the device
// has after a sync.
func (p *Promise) look(b *bench) error {
	f, err := b.filled("promise", promiseBytes, pageBytes)
	if err != nil {
		return err
	}
	m, err := b.mapped(f, promiseBytes)
	if err != nil {
		return fmt.Errorf("a file cannot be mapped here, and so no log be written: %w", err)
	}
	again, err := b.dir.Open(f.Name(), true)
	if err != nil {
		return err
	}
	b.later(again.Close)
	stored, written := []byte("stored through the mapping"), []byte("written through a descriptor")
	if err = m.Store(pageBytes/2, stored, nil); err != nil {
		return err
	}
	seen := make([]byte, len(stored))
	if _, err = again.ReadAt(seen, pageBytes/2); err != nil {
		return err
	}
	p.Coherent = bytes.Equal(seen, stored)
	if _, err = again.WriteAt(written, 0); err != nil {
		return err
	}
	seen = make([]byte, len(written))
	if err = m.Load(0, seen); err != nil {
		return err
	}
	p.Coherent = p.Coherent && bytes.Equal(seen, written)
	if err = m.Sync(0, promiseBytes); err != nil {
		return err
	}
	seen = make([]byte, len(stored))
	_, how, err := again.ReadDirect(seen, pageBytes/2)
	if err != nil || how != durability.ModeDirect {
		return err
	}
	p.Reached = "no"
	if bytes.Equal(seen, stored) {
		p.Reached = "yes"
	}
	return nil
}

// words says what the clauses come to on a kind of filesystem.
func (p *Promise) words(fsys durability.Filesystem, kind string) {
	p.C1 = "holds: what Append has stored is in the page cache, and survives the death of the process"
	if !p.Coherent {
		p.C1 = "does not hold: a mapping and a descriptor show different bytes"
	}
	switch fsys.Name {
	case "nfs", "smb", "cifs", "smb2", "ceph", "gfs2", "9p", "afs":
		p.C1 += "; on this machine: others that mount the same directory may see old bytes, so keep readers here"
		p.C2 = "is the server's to keep: Sync returns when the server says that it has the bytes, and what it does with them cannot be seen from here"
		return
	case "fuse":
		if kind == "" {
			kind = "fuse"
		}
		p.C1 += "; the program that serves " + kind + " must not die"
		p.C2 = "is the serving program's to keep: Sync returns when " + kind + " has answered, and it may answer without a sync of its own"
		return
	case "tmpfs", "ramfs", "hugetlbfs":
		p.C2 = "does not hold: there is no device, Sync returns nil and a power loss takes all"
		return
	case "overlay":
		p.C2 = "holds as far as the upper layer keeps it: " + fsys.Why
		if !fsys.Durable {
			p.C2 = "does not hold: " + fsys.Why
		}
		return
	}
	switch {
	case !fsys.Durable:
		p.C2 = "cannot be relied on: " + fsys.Why
	case p.Reached == "no":
		p.C2 = "does not hold: after a sync the device does not have what was stored"
	case fsys.Why != "":
		p.C2 = "is not known to hold: " + fsys.Why
	default:
		p.C2 = "holds as far as the device's flush does: see there"
	}
}
