//go:build linux

package powerloss

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/seawall-wal/seawall/crashtest/blockdev"
	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/files"
	"github.com/seawall-wal/seawall/crashtest/kill"
)

// details are what a token carries: what the disk held, and what was known. What a filesystem
// writes, and when, is not the same each time; so it is not recorded again, but made.
type details struct {
	Subject    string        `json:"s"`
	Program    *kill.Program `json:"p,omitempty"`
	Filesystem Filesystem    `json:"f"`

	Known []byte `json:"k,omitempty"` // as the subject encodes it
	Image []byte `json:"i,omitempty"`

	// Tree is what is left on POSIX, in place of an image.
	Tree *files.Tree `json:"t,omitempty"`

	// Life says that it was the life that goes on from there that has run into it, or one that
	// began on an empty filesystem, without an image; it is lived again with its seed.
	Life   bool               `json:"l,omitempty"`
	Seed   uint64             `json:"d"`
	Mutate campaign.Mutations `json:"m,omitempty"`

	Kind   campaign.Kind   `json:"c"`
	Clause campaign.Clause `json:"u,omitempty"`
	When   string          `json:"w"`
	Lost   []string        `json:"x,omitempty"`
}

// mostWhole is how many bytes an image may have, packed, of which a token carries all. Of a
// larger one it carries what was read to show the finding.
const mostWhole = 16 << 10

// token returns a token for a finding: of what a view holds, and what was known. Where d is a
// disk, it is made sure that the finding shows by what is carried.
func (l *lab) token(f *campaign.Finding, t details, view blockdev.View, known campaign.Known, d *blockdev.Disk) (string, error) {
	t.Subject, t.Filesystem, t.Seed, t.Kind, t.Clause, t.Lost = f.Subject, l.fs, f.Seed, f.Kind, f.Clause, f.Lost
	t.Mutate = l.o.Mutate
	if l.o.Program.Workload != "" {
		t.Program = &l.o.Program
	}
	if known == nil && view.Layer == l.base.Layer {
		return campaign.Token(campaignName, t)
	}
	var err error
	if t.Known, err = kill.CodecOf(l.subject).AppendKnown(nil, known); err != nil {
		l.note(fmt.Sprintf("a finding has no token that shows it again: %v", err))
		return "", nil
	}
	image, err := l.disks.Image(view)
	if err != nil {
		return "", err
	}
	t.Image = pack(image)
	whole, err := campaign.Token(campaignName, t)
	if err != nil {
		l.note(fmt.Sprintf("a finding has no token that shows it again: %v", err))
		return "", nil
	}
	if d == nil || len(whole) <= mostWhole {
		return whole, nil
	}
	again := func(view blockdev.View) (checked, error) {
		return l.mounted(d, view, func(found campaign.Found) *campaign.Broken {
			return checkEach(found, known, like(&campaign.Broken{Kind: f.Kind, Clause: f.Clause}))
		})
	}
	c, err := again(view)
	if err != nil {
		return "", err
	}
	maps.DeleteFunc(image, func(n int64, _ []byte) bool {
		_, read := slices.BinarySearch(c.read, n)
		return !read
	})
	less, err := l.disks.Load(image)
	if err != nil {
		return "", err
	}
	defer func() { _ = l.disks.Drop(less.Layer) }() // the server ends with its lab
	if c, err = again(less); err != nil {
		return "", err
	}
	if c.broken == nil || c.broken.Kind != f.Kind || c.broken.Clause != f.Clause {
		return whole, nil
	}
	t.Image = pack(image)
	return campaign.Token(campaignName, t)
}

// pack returns the bytes of an image: of each block, by its number, which of its sectors are not
// zeros, and these.
func pack(image blockdev.Image) []byte {
	var b []byte
	last := int64(0)
	for _, n := range slices.Sorted(maps.Keys(image)) {
		b = binary.AppendUvarint(b, uint64(n-last))
		last = n
		have, data := byte(0), []byte(nil)
		for i := range blockdev.BlockBytes / blockdev.SectorBytes {
			if s := image[n][i*blockdev.SectorBytes:][:blockdev.SectorBytes]; !bytes.Equal(s, zeroSector[:]) {
				have |= 1 << i
				data = append(data, s...)
			}
		}
		b = append(append(b, have), data...)
	}
	return b
}

// zeroSector is a sector of zeros.
var zeroSector [blockdev.SectorBytes]byte

// unpack returns the image that was packed.
func unpack(b []byte) (blockdev.Image, error) {
	image, last := blockdev.Image{}, int64(0)
	for len(b) > 0 {
		n, size := binary.Uvarint(b)
		if size <= 0 || len(b) == size || n > 1<<40/blockdev.BlockBytes {
			return nil, fmt.Errorf("%w: its image is not whole", campaign.ErrToken)
		}
		have, p := b[size], make([]byte, blockdev.BlockBytes)
		b = b[size+1:]
		for i := range blockdev.BlockBytes / blockdev.SectorBytes {
			if have&(1<<i) == 0 {
				continue
			}
			if len(b) < blockdev.SectorBytes {
				return nil, fmt.Errorf("%w: its image is not whole", campaign.ErrToken)
			}
			copy(p[i*blockdev.SectorBytes:], b[:blockdev.SectorBytes])
			b = b[blockdev.SectorBytes:]
		}
		last += int64(n)
		image[last] = p
	}
	return image, nil
}

// note adds a note to the result.
func (l *lab) note(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.notes = append(l.notes, text)
}
