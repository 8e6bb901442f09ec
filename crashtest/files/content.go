//go:build linux

package files

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"os"
	"slices"
	"unique"
)

// span is a range of bytes, from one to before another.
type span struct {
	From int64 `json:"f"`
	To   int64 `json:"t"`
}

// pieceBytes is the size of the pieces that contents share.
const pieceBytes = 4 << 10

// content is what a file held, in pieces. Equal pieces are one, in all contents there are.
type content struct {
	pieces []unique.Handle[string]
	size   int64
}

// readContent reads a file.
func readContent(path string) (c *content, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was read only
	c = &content{}
	p := make([]byte, pieceBytes)
	for {
		n, err := io.ReadFull(f, p)
		if n > 0 {
			c.add(p[:n])
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return c, nil
		case err != nil:
			return nil, err
		}
	}
}

// add adds a piece. All but the last are whole.
func (c *content) add(p []byte) {
	c.size += int64(len(p))
	c.pieces = append(c.pieces, unique.Make(string(p)))
}

// fresh returns how many bytes are in pieces that an older content does not have at the same place.
func (c *content) fresh(older *content) (n int64) {
	for i, p := range c.pieces {
		if older == nil || i >= len(older.pieces) || older.pieces[i] != p {
			n += int64(len(p.Value()))
		}
	}
	return n
}

// bytes returns all of it.
func (c *content) bytes() []byte {
	all := make([]byte, 0, c.size)
	for _, p := range c.pieces {
		all = append(all, p.Value()...)
	}
	return all
}

// equal reports whether two contents are the same.
func (c *content) equal(o *content) bool { return slices.Equal(c.pieces, o.pieces) }

// contentOf makes a content of bytes.
func contentOf(data []byte) *content {
	c := &content{}
	for p := range slices.Chunk(data, pieceBytes) {
		c.add(p)
	}
	return c
}

// MarshalJSON implements json.Marshaler.
func (c *content) MarshalJSON() ([]byte, error) { return json.Marshal(c.bytes()) }

// UnmarshalJSON implements json.Unmarshaler.
func (c *content) UnmarshalJSON(text []byte) error {
	var data []byte
	err := json.Unmarshal(text, &data)
	*c = *contentOf(data)
	return err
}

// differing returns where two contents differ, as far as both go.
func differing(a, b *content) (list []span) {
	for n := range min(len(a.pieces), len(b.pieces)) {
		if a.pieces[n] == b.pieces[n] {
			continue
		}
		p, q, off := a.pieces[n].Value(), b.pieces[n].Value(), int64(n)*pieceBytes
		for i, most := 0, min(len(p), len(q)); i < most; {
			if p[i] == q[i] {
				i++
				continue
			}
			from := i
			for i < most && p[i] != q[i] {
				i++
			}
			list = append(list, span{off + int64(from), off + int64(i)})
		}
	}
	return list
}

// joined returns spans in order, those that touch as one.
func joined(list []span) (all []span) {
	slices.SortFunc(list, func(a, b span) int { return cmp.Compare(a.From, b.From) })
	for _, s := range list {
		if last := len(all) - 1; last >= 0 && s.From <= all[last].To {
			all[last].To = max(all[last].To, s.To)
		} else {
			all = append(all, s)
		}
	}
	return all
}

// without returns what is in the spans of one list, and not in those of the other.
func without(list, other []span) (rest []span) {
	if len(other) == 0 {
		return list
	}
	for _, s := range list {
		for _, r := range outside(other, s.To) {
			if r.From = max(r.From, s.From); r.From < r.To {
				rest = append(rest, r)
			}
		}
	}
	return rest
}

// outside returns what spans leave of the bytes up to an end.
func outside(list []span, end int64) (rest []span) {
	at := int64(0)
	for _, s := range joined(slices.Clone(list)) {
		if s.From > at {
			rest = append(rest, span{at, min(s.From, end)})
		}
		if at = max(at, s.To); at >= end {
			return rest
		}
	}
	return append(rest, span{at, end})
}
