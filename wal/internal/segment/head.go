package segment

import (
	"errors"
	"io"

	"github.com/seawall-wal/seawall/durability"
	"github.com/seawall-wal/seawall/wal/frame"
)

// ReadHead reads and decodes what lies in front of an open file's frames, up to its
// stamp. What lies behind the file's end is invalid. That is what a reader needs to enter a
// segment. The slots, which no reader needs, are not read, and so count as invalid.
func ReadHead(f *durability.File) (frame.Head, error) {
	b := make([]byte, frame.StampOffset+frame.StampBytes)
	n, err := f.ReadAt(b, 0)
	if err != nil && !isEOF(err) {
		return frame.Head{}, err
	}
	return frame.DecodeHead(b[:n]), nil
}

// isEOF reports whether a read ended at the file's end.
func isEOF(err error) bool { return errors.Is(err, io.EOF) }
