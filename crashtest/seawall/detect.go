//go:build linux

package seawall

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/durability/durabilitytest"
	"github.com/seawall-wal/seawall/wal"
	"github.com/seawall-wal/seawall/wal/frame"
)

// reopen opens a log under options that do for every one.
func (s *Log) reopen(dir string) (*wal.Log, error) {
	return s.open(dir, wal.Options{SegmentBytes: wal.MinSegmentBytes, SegmentsAhead: 1})
}

// lookOnly verifies a log without opening it, and reads its records. All files have
// to stay as they are.
func (s *Log) lookOnly(dir string) (*Held, error) {
	before, err := durabilitytest.ReadFiles(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	held, lookErr := s.verifyAndDump(dir, false)
	after, err := durabilitytest.ReadFiles(dir)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, err
	case before.Key() != after.Key():
		return nil, &campaign.Broken{Kind: campaign.Illegal, Clause: "C10", What: "verify changed the files that it was to look at"}
	}
	return held, lookErr
}

// Detect implements campaign.Detector: the log has to notice a file that is truncated
// under its writer before it acknowledges, and a durable record that is damaged before
// it opens.
func (s *Log) Detect(dir string) error {
	dir = filepath.Join(dir, logName)
	name, err := s.detectTruncation(dir)
	if err != nil {
		return err
	}
	return s.detectDamage(dir, name)
}

// detectTruncation truncates the segment that a log ends in while it is appended to,
// and makes it what it was again. It returns the path of that segment.
func (s *Log) detectTruncation(dir string) (name string, err error) {
	l, err := s.reopen(dir)
	if err != nil {
		return "", misjudged("open", err)
	}
	_, err = l.Append([]byte("durable"))
	if err == nil {
		err = l.Checkpoint() // what is in the segment now is durable, and the log knows it
	}
	name, nerr := lastUsed(dir)
	whole, rerr := os.ReadFile(name)
	rotations := l.Stats().Rotations
	if err = errors.Join(err, nerr, rerr); err == nil {
		_, err = l.Append([]byte("lost"))
	}
	if err != nil || l.Stats().Rotations != rotations {
		return name, errors.Join(err, l.Close()) // the log goes on in another segment
	}
	if err = errors.Join(os.Truncate(name, frame.DataOffset), os.Truncate(name, int64(len(whole)))); err != nil {
		return name, errors.Join(err, l.Close())
	}
	acked := l.Sync()
	_ = l.Close() // it is poisoned, and says so
	if acked == nil {
		return name, &campaign.Broken{Kind: campaign.Lost, Clause: "C7", What: fmt.Sprintf(
			"%s was truncated and extended again under the log, and a sync of the record that was lost by that returned nil", filepath.Base(name))}
	}
	return name, os.WriteFile(name, whole, 0o600)
}

// detectDamage damages the first record of a segment, which is durable, and known to be.
func (s *Log) detectDamage(dir, name string) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	b := make([]byte, 1)
	if _, err = f.ReadAt(b, frame.DataOffset); err == nil {
		b[0] ^= 0xff
		_, err = f.WriteAt(b, frame.DataOffset)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	l, err := s.reopen(dir)
	if err == nil {
		return errors.Join(&campaign.Broken{Kind: campaign.Misjudged, Clause: "C5", What: fmt.Sprintf(
			"the first frame of %s is damaged, which was durable: open says nothing of it, and recovered records %d to %d",
			filepath.Base(name), l.FirstLSN(), l.LastLSN())}, l.Close())
	}
	if !errors.Is(err, wal.ErrCorrupt) {
		return misjudged("open of a log that is damaged", err)
	}
	return nil
}

// lastUsed returns the path of the last segment that holds a frame.
func lastUsed(dir string) (string, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	if err != nil {
		return "", err
	}
	for n := len(names) - 1; n >= 0; n-- {
		b, err := os.ReadFile(names[n])
		if err != nil {
			return "", err
		}
		if len(b) > frame.DataOffset+frame.HeaderBytes && [frame.HeaderBytes]byte(b[frame.DataOffset:]) != [frame.HeaderBytes]byte{} {
			return names[n], nil
		}
	}
	return "", fmt.Errorf("%s: no segment holds a frame: %w", dir, fs.ErrNotExist)
}

// refused ends a life with a sync that the kernel refuses. From then on nothing is
// acknowledged: not by another sync either, which the kernel does not refuse.
func (w *work) refused() error {
	if err := w.appendOne(large); err != nil {
		return errors.Join(err, w.log.Close())
	}
	w.subject.Refuse(true)
	err := w.log.Sync()
	w.subject.Refuse(false)
	w.pause()
	if err == nil {
		return errors.Join(errors.New("seawall: the sync that was to fail did not"), w.log.Close())
	}
	_ = w.appendOne(large) // which a poisoned log refuses
	if err = w.log.Sync(); err == nil {
		w.set(func(m *Mark) { m.durable = max(m.durable, m.appended) })
	}
	w.pause()
	_ = w.log.Close() // it is poisoned, and says so
	return nil
}
