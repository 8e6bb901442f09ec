//go:build linux

package files

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/crashtest/internal/intercept"
)

// msync looks at the files that a range of memory is a mapping of, syncs them there by a mapping
// of its own, and notes that it is done. Where other things lie in the range, too, the program does
// it itself, and nothing is noted.
func (w *watch) msync(c *intercept.Call) (intercept.Answer, error) {
	from, length := c.Args[0], c.Args[1]
	if c.Args[2]&unix.MS_SYNC == 0 {
		return intercept.Answer{}, nil // it asks for nothing
	}
	list, err := mappings(c, from, from+length)
	if err != nil {
		return intercept.Answer{}, err
	}
	at := from
	var parts []part
	for i := range list {
		m := &list[i]
		p, ok, err := w.part(c, m, max(from, m.from), min(from+length, m.to))
		if err != nil || !ok || m.from > at {
			return intercept.Answer{}, err
		}
		parts, at = append(parts, p), m.to
	}
	if at < from+length {
		return intercept.Answer{}, nil
	}
	skips := w.weak.Skips(c)
	for i := range parts {
		if err := w.syncPart(&parts[i], skips); err != nil {
			if errno := errnoOf(err); errno != 0 && !errors.Is(err, errTooMuch) {
				return intercept.Answer{Skip: true, Errno: errno}, nil
			}
			return intercept.Answer{}, err
		}
	}
	return intercept.Answer{Skip: true}, nil
}

// mapped is a line of /proc/PID/maps.
type mapped struct {
	from, to uint64
	off      int64
	shared   bool
	path     string
}

// mappings returns what lies in a range of the program's memory, in order.
func mappings(c *intercept.Call, from, to uint64) ([]mapped, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(c.Thread) + "/maps")
	if err != nil {
		return nil, err
	}
	var list []mapped
	for line := range bytes.Lines(text) {
		// Address, permissions, offset, device, inode, path: the first five have no spaces.
		fields := strings.SplitN(strings.TrimSuffix(string(line), "\n"), " ", 6)
		m := mapped{shared: len(fields) == 6 && strings.HasSuffix(fields[1], "s")}
		if _, err = fmt.Sscanf(fields[0], "%x-%x", &m.from, &m.to); err != nil {
			return nil, fmt.Errorf("files: /proc/%d/maps: %w", c.Thread, err)
		}
		if m.to <= from || m.from >= to {
			continue
		}
		if m.shared {
			m.path = strings.TrimLeft(fields[5], " ")
			if m.off, err = strconv.ParseInt(fields[2], 16, 64); err != nil {
				return nil, fmt.Errorf("files: /proc/%d/maps: %w", c.Thread, err)
			}
		}
		list = append(list, m)
	}
	return list, nil
}

// part is a part of a file that a sync of a mapping is about.
type part struct {
	file
	span
}

// part returns what a mapping shows between two addresses, if that is a file below the program's
// directory.
func (w *watch) part(c *intercept.Call, m *mapped, from, to uint64) (p part, ok bool, err error) {
	if !m.shared {
		return p, false, nil
	}
	path, gone := strings.CutSuffix(m.path, " (deleted)")
	p.nameless = gone
	if p.path, ok = w.below(path); !ok {
		return p, false, nil
	}
	p.at = filepath.Join("/proc", strconv.Itoa(c.Thread), "map_files", fmt.Sprintf("%x-%x", m.from, m.to))
	p.span = span{m.off + int64(from-m.from), m.off + int64(to-m.from)}
	err = unix.Stat(p.at, &p.stat)
	return p, err == nil && p.is(unix.S_IFREG), err
}

// syncPart looks at a file, syncs a part of it, and notes that.
func (w *watch) syncPart(p *part, skips bool) error {
	w.mu.Lock()
	before := w.inode(&p.file).need(w.last, w.writes, false)
	n, s, err := w.sight(&p.file)
	at := 0
	if err == nil {
		at = s.at
		s.onlyIn(p.span, before)
		w.freed[n] = slices.Clone(s.free)
	}
	w.mu.Unlock()
	if err != nil {
		return err
	}
	if !skips {
		if err = syncMapping(p); err != nil {
			return err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	n.promise(at, w.next(), skips)
	w.named(&p.file, n, skips)
	w.counts.Synced++
	w.moment()
	return nil
}

// onlyIn has a sight ask only for a part of the file; of the rest it asks for what was asked for
// before.
func (s *sight) onlyIn(part span, before *Need) {
	rest := []span{{0, min(part.From, s.data.size)}, {part.To, s.data.size}}
	s.size = min(part.To, s.data.size)
	if before != nil {
		s.size = max(s.size, before.Least)
		asked := outside(append(differing(before.Data, s.data), before.Free...), min(before.Data.size, s.data.size))
		rest = outside(append(asked, part), s.data.size)
	}
	for _, r := range rest {
		if r.From < r.To {
			s.free = append(s.free, r)
		}
	}
	s.free = joined(s.free)
}

// syncMapping syncs a part of a file as msync does, by a mapping of the lab's own: whose mapping it
// is that is synced makes no difference to the kernel, but of one that could not be written to
// msync syncs nothing, and returns 0 (mm/msync.c asks for VM_SHARED, which mmap leaves out then).
func syncMapping(p *part) error {
	fd, err := unix.Open(p.at, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }() // nothing was written by it
	m, err := unix.Mmap(fd, p.From, int(p.To-p.From), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	return errors.Join(unix.Msync(m, unix.MS_SYNC), unix.Munmap(m))
}
