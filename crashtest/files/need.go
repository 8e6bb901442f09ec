//go:build linux

package files

import (
	"bytes"
	"fmt"
	"io/fs"
	"slices"
)

// Need is what a file has to hold.
type Need struct {
	Data   *content `json:"data"`             // from its beginning
	Free   []span   `json:"free,omitempty"`   // of it, what may be anything, in order
	Least  int64    `json:"least"`            // its length
	Synced bool     `json:"synced,omitempty"` // it was synced so, not only renamed
}

// inode is a file, whatever its names, and all that it was seen to hold, in order.
type inode struct {
	sights []sight
	mode   fs.FileMode
}

// sight is what a file held at one moment.
type sight struct {
	at   int
	data *content
	free []span // what is not asked for by this sight: it was on its way then, or not synced
	size int64  // that is asked for

	// Since this moment, if it is above 0, the file has to hold that: a sync that began with the
	// sight has returned, or a rename has begun.
	since   int
	synced  bool
	skipped bool // the sync was left out, and the program believes in it
}

// write is what may have been written to a file, since a moment.
type write struct {
	at    int
	inode *inode
	span  span
	cuts  bool // the file may end at its beginning
}

// need returns what a file has to hold at a moment, or nil if that is nothing: since it was synced
// or, unless only that counts, renamed.
func (n *inode) need(now int, writes []write, onlySynced bool) *Need {
	var s *sight
	for i := range n.sights {
		if o := &n.sights[i]; o.since > 0 && o.since <= now && (o.synced && !o.skipped || !onlySynced) {
			s = o
		}
	}
	if s == nil {
		return nil
	}
	need := &Need{Data: s.data, Least: s.size, Synced: s.synced, Free: append([]span(nil), s.free...)}
	for i := range writes {
		w := &writes[i]
		if w.inode != n || w.at < s.at || w.at > now {
			continue
		}
		need.Free = append(need.Free, w.span)
		if w.cuts {
			need.Least = min(need.Least, w.span.From)
		}
	}
	// What a mapping changes is seen when somebody looks next, be it after now.
	for i := range n.sights {
		o := &n.sights[i]
		if o.at <= s.at {
			continue
		}
		need.Free = append(need.Free, without(differing(s.data, o.data), n.written(now, o.at, writes))...)
		if !n.cut(now, o.at, writes) {
			need.Least = min(need.Least, o.data.size)
		}
		if o.at > now {
			break
		}
	}
	need.Free = joined(need.Free)
	return need
}

// written returns what calls were about to write to the file between two moments: what they change
// was not changed before.
func (n *inode) written(from, to int, writes []write) (list []span) {
	for i := range writes {
		if w := &writes[i]; w.inode == n && w.at > from && w.at < to {
			list = append(list, w.span)
		}
	}
	return list
}

// cut reports whether calls were about to shorten it between two moments.
func (n *inode) cut(from, to int, writes []write) bool {
	return slices.ContainsFunc(writes, func(w write) bool { return w.inode == n && w.cuts && w.at > from && w.at < to })
}

// isNone reports whether a need, of a token, is none.
func (n *Need) isNone() bool {
	return n == nil || n.Data == nil || slices.ContainsFunc(n.Free, func(s span) bool { return s.From < 0 || s.To < s.From })
}

// Lacks says in what a file's content is not what it has to be, or nothing.
func (n *Need) Lacks(got *content) string {
	how := "renamed into place"
	if n.Synced {
		how = "synced"
	}
	switch {
	case got.size == 0 && n.Least > 0:
		return fmt.Sprintf("is empty; it held %s when it was %s", bytesOf(n.Data.size), how)
	case got.size < n.Least:
		return fmt.Sprintf("has %s; it held %s when it was %s", bytesOf(got.size), bytesOf(n.Data.size), how)
	}
	different := differing(n.Data, got)
	for _, asked := range outside(n.Free, min(n.Data.size, got.size)) {
		for _, d := range different {
			if d.From, d.To = max(d.From, asked.From), min(d.To, asked.To); d.From >= d.To {
				continue
			}
			return fmt.Sprintf("%s; it held %s when it was %s", n.found(got, d), bytesOf(n.Data.size), how)
		}
	}
	return ""
}

// found tells what is where something else has to be.
func (n *Need) found(got *content, at span) string {
	data := got.bytes()
	if len(bytes.Trim(data, "\x00")) == 0 {
		return fmt.Sprintf("has %s of zeros", bytesOf(got.size))
	}
	rest := data[at.From:]
	if zeros := len(rest) - len(bytes.TrimLeft(rest, "\x00")); int64(zeros) >= at.To-at.From {
		return fmt.Sprintf("has %s of zeros at byte %d", bytesOf(int64(zeros)), at.From)
	}
	return fmt.Sprintf("has other bytes at byte %d", at.From)
}

// bytesOf returns a number of bytes in words.
func bytesOf(n int64) string {
	if n == 1 {
		return "1 byte"
	}
	return fmt.Sprintf("%d bytes", n)
}
