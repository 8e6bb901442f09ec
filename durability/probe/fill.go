package probe

import (
	"context"
	"time"

	"github.com/seawall-wal/seawall/durability"
)

const (
	fillFileBytes  = 16 << 20 // at most
	fillPieceBytes = 1 << 20
)

// measureFill makes a file as segments are made, zeros by 64 KiB and an fsync, as much
// of it as there is time for.
func measureFill(b *bench) (func(*Result), error) {
	f, err := b.create("fill")
	if err != nil {
		return nil, err
	}
	size := int64(0)
	begin := time.Now()
	for size < fillFileBytes && !b.over(0.5) {
		size += fillPieceBytes
		if err := f.Allocate(size, durability.AllocateOptions{}); err != nil {
			return nil, err
		}
		if err := f.Datasync(); err != nil { // so that its time is known before it is over
			return nil, err
		}
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	if size == 0 {
		return nil, context.DeadlineExceeded
	}
	fill := Fill{Bytes: size, Seconds: time.Since(begin).Seconds()}
	return func(r *Result) { r.Fill = fill }, nil
}
