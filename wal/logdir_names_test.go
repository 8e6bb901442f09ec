package wal_test

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/wal"
)

const (
	fifthName = "0000000000000005.wal"
	sixthName = "0000000000000006.wal"
)

// missing is the damage of a missing segment.
func missing(name string, first, last wal.LSN) wal.Damage {
	return wal.Damage{File: name, FirstLSN: first, LastLSN: last, Unknown: first == 0, Reason: "missing segment"}
}

// cleanTo14 is a log that nothing is wrong with.
var cleanTo14 = finding{last: 14, durable: 14}

// directories are changes of a directory, and what comes of them.
var directories = []struct {
	name string
	hurt func(*specimen)
	want finding
	gone string // a file that Open removes
}{
	{"first missing", func(s *specimen) { s.remove(firstName) }, finding{
		verdict: wal.Damaged, last: 14, durable: 14, dumpFirst: 5,
		damage: []wal.Damage{{
			File: firstName, FirstLSN: 1, LastLSN: 4,
			Reason: "missing: the log's first records were in it, or before it",
		}},
	}, ""},
	{"first two missing", func(s *specimen) { s.remove(firstName); s.remove(secondName) }, finding{
		verdict: wal.Damaged, last: 14, durable: 14, dumpFirst: 9,
		damage: []wal.Damage{{
			File: secondName, FirstLSN: 1, LastLSN: 8,
			Reason: "missing: the log's first records were in it, or before it",
		}},
	}, ""},
	{"second missing", func(s *specimen) { s.remove(secondName) }, finding{
		verdict: wal.Damaged, last: 4, durable: 14, anyTorn: true, behind: []wal.Range{{First: 9, Last: 14}},
		damage: []wal.Damage{missing(secondName, 5, 8)},
	}, ""},
	{"second and third missing", func(s *specimen) { s.remove(secondName); s.remove(thirdName) }, finding{
		verdict: wal.Damaged, last: 4, durable: 14, anyTorn: true, behind: []wal.Range{{First: 13, Last: 14}},
		damage: []wal.Damage{
			{File: secondName, FirstLSN: 5, LastLSN: 12, Reason: "missing segment, one of 2 up to " + thirdName},
			{File: thirdName, Reason: "missing segment, one of 2 up to " + thirdName},
		},
	}, ""},
	{"newest missing", func(s *specimen) { s.remove(fourthName) }, finding{
		verdict: wal.Damaged, last: 12, durable: 14,
		damage: []wal.Damage{missing(fourthName, 13, 14)},
	}, ""},
	{"newest missing, of which no other file knows", func(s *specimen) { s.forgetCheckpoint(); s.remove(fourthName) }, finding{
		verdict: wal.Damaged, last: 12,
		damage: []wal.Damage{missing(fourthName, 0, 0)},
	}, ""},
	{"prepared missing", func(s *specimen) { s.remove(fifthName) }, finding{
		verdict: wal.Damaged, last: 14, durable: 14,
		damage: []wal.Damage{missing(fifthName, 0, 0)},
	}, ""},
	{"last prepared missing", func(s *specimen) { s.remove(sixthName) }, cleanTo14, ""},
	{"lock file missing", func(s *specimen) { s.remove(lockFile) }, cleanTo14, ""},
	{"lock file empty", func(s *specimen) { s.put(lockFile, nil) }, cleanTo14, ""},
	{"lock file of nonsense", func(s *specimen) { s.put(lockFile, []byte(strings.Repeat("x", 100))) }, cleanTo14, ""},
	{"other names", func(s *specimen) {
		for _, name := range []string{
			"1.wal", "0000000000000000.wal", "000000000000000A.wal", "00000000000000001.wal",
			"0000000000000001.wal~", "8000000000000000.wal", "notes.txt", ".wal", ".tmp", "0000000000000001",
		} {
			s.put(name, []byte("not a segment"))
		}
	}, cleanTo14, ""},
	{"longer", func(s *specimen) {
		s.change(secondName, func(data []byte) []byte { return append(data, "more"...) })
		s.change(fourthName, func(data []byte) []byte { return append(data, make([]byte, 5000)...) })
	}, cleanTo14, ""},
	{"empty", func(s *specimen) { s.put(secondName, nil) }, finding{
		verdict: wal.Damaged, last: 4, durable: 14, anyTorn: true, behind: []wal.Range{{First: 9, Last: 14}},
		damage: []wal.Damage{{File: secondName, FirstLSN: 5, LastLSN: 8, Reason: "empty file"}},
	}, ""},
	{"prepared one empty", func(s *specimen) { s.put(fifthName, nil) }, finding{
		verdict: wal.Damaged, last: 14, durable: 14,
		damage: []wal.Damage{{File: fifthName, Unknown: true, Reason: "empty file"}},
	}, ""},
	{"renamed", func(s *specimen) { s.rename(secondName, "0000000000000007.wal") }, finding{
		verdict: wal.Damaged, last: 4, durable: 14, anyTorn: true, behind: []wal.Range{{First: 9, Last: 14}},
		damage: []wal.Damage{
			missing(secondName, 5, 8),
			{File: "0000000000000007.wal", Reason: "renamed: it holds segment 0000000000000002"},
		},
	}, ""},
	{"exchanged", func(s *specimen) {
		s.rename(secondName, "x")
		s.rename(thirdName, secondName)
		s.rename("x", thirdName)
	}, finding{
		verdict: wal.Damaged, last: 4, durable: 14, anyTorn: true, behind: []wal.Range{{First: 13, Last: 14}},
		damage: []wal.Damage{
			{File: secondName, FirstLSN: 5, LastLSN: 12, Reason: "renamed: it holds segment 0000000000000003"},
			{File: thirdName, Reason: "renamed: it holds segment 0000000000000002"},
		},
	}, ""},
	{"copied ahead", func(s *specimen) { s.put("0000000000000007.wal", s.get(thirdName)) }, finding{
		verdict: wal.Damaged, last: 14, durable: 14, anyTorn: true,
		damage: []wal.Damage{{File: "0000000000000007.wal", Reason: "renamed: it holds segment 0000000000000003"}},
	}, ""},
	{"stray temporary file of garbage", func(s *specimen) {
		s.put("0000000000000007.tmp", []byte(strings.Repeat("garbage", 10000)))
	}, cleanTo14, "0000000000000007.tmp"},
	{"empty temporary file", func(s *specimen) { s.put("0000000000000007.tmp", nil) }, cleanTo14, "0000000000000007.tmp"},
	{"temporary file beside its segment", func(s *specimen) {
		s.put("0000000000000003.tmp", s.get(thirdName))
	}, cleanTo14, "0000000000000003.tmp"},
	{"temporary file with another's stamp", func(s *specimen) {
		s.put("0000000000000007.tmp", s.get(fourthName))
	}, cleanTo14, "0000000000000007.tmp"},
	{"newest has its temporary name", func(s *specimen) {
		s.rename(fourthName, "0000000000000004.tmp")
		s.remove(fifthName)
		s.remove(sixthName)
	}, cleanTo14, "0000000000000004.tmp"},
	{"newest two have their temporary names", func(s *specimen) {
		s.rename(thirdName, "0000000000000003.tmp")
		s.rename(fourthName, "0000000000000004.tmp")
		s.remove(fifthName)
		s.remove(sixthName)
	}, cleanTo14, "0000000000000003.tmp"},
}

// TestDirectory changes which files there are. The log has 14 records in
// segments 1 to 4, and segments 5 and 6 are prepared.
func TestDirectory(t *testing.T) {
	base := rotated(t)
	for _, tt := range directories {
		t.Run(tt.name, func(t *testing.T) {
			s := take(t, base.dir)
			tt.hurt(s)
			tt.want.size = 10000
			s.analyze(small(), tt.want)
			if _, err := os.Lstat(filepath.Join(s.dir, tt.gone)); tt.gone != "" && !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s is still there: %v", tt.gone, err)
			}
		})
	}
}

// wantRefusal wants everyone to refuse the directory with that error, which
// names the file, and to leave it as it is.
func (s *specimen) wantRefusal(sentinel error, names ...string) {
	s.t.Helper()
	before := readDir(s.t, s.dir)
	for what, fn := range map[string]func() error{
		"open":   func() error { _, err := wal.Open(s.dir, small()); return err },
		"verify": func() error { _, err := wal.Verify(s.dir); return err },
		"repair": func() error { _, err := wal.Repair(s.dir, wal.RepairOptions{}); return err },
		"force":  func() error { _, err := wal.Repair(s.dir, wal.RepairOptions{Force: true}); return err },
		"dump": func() error {
			_, err := wal.Dump(s.dir, wal.DumpOptions{}, func(wal.LSN, []byte) error { return nil })
			return err
		},
	} {
		err := fn()
		if err == nil || sentinel != nil && !errors.Is(err, sentinel) {
			s.t.Errorf("%s: %v, want %v", what, err, sentinel)
			continue
		}
		for _, name := range names {
			if !strings.Contains(err.Error(), name) {
				s.t.Errorf("%s: %v does not name %s", what, err, name)
			}
		}
		unchanged(s.t, what, s.dir, before)
	}
}

// reseal changes the header of a segment and makes its checksum right.
func (s *specimen) reseal(name string, fn func(header []byte)) {
	s.t.Helper()
	s.change(name, func(data []byte) []byte {
		fn(data)
		binary.LittleEndian.PutUint32(data[76:], crc32.Checksum(data[:76], crc32.MakeTable(crc32.Castagnoli)))
		return data
	})
}

// TestRefused are directories that no call may change, with the error and the
// file that it names.
func TestRefused(t *testing.T) {
	base, other := rotated(t), rotated(t)
	tests := []struct {
		name string
		hurt func(*specimen)
		want error
		file string
	}{
		{
			"foreign segment ahead", func(s *specimen) { s.put("0000000000000007.wal", other.get(firstName)) },
			wal.ErrForeign, "0000000000000007.wal",
		},
		{
			"foreign segment in the middle", func(s *specimen) { s.put(secondName, other.get(secondName)) },
			wal.ErrForeign, secondName,
		},
		{"foreign first segment, nameless lock file", func(s *specimen) {
			s.put(firstName, other.get(firstName))
			s.put(lockFile, nil)
		}, wal.ErrForeign, firstName},
		{
			"foreign temporary file", func(s *specimen) { s.put("0000000000000007.tmp", other.get(sixthName)) },
			wal.ErrForeign, "0000000000000007.tmp",
		},
		{"all segments foreign", func(s *specimen) {
			for _, name := range s.segments() {
				s.put(name, other.get(name))
			}
		}, wal.ErrForeign, firstName},
		{"newer version", func(s *specimen) {
			s.reseal(thirdName, func(h []byte) { binary.LittleEndian.PutUint32(h[8:], 2) })
		}, wal.ErrVersion, thirdName},
		{"unknown feature", func(s *specimen) {
			s.reseal(fourthName, func(h []byte) { binary.LittleEndian.PutUint32(h[12:], 1<<31) })
		}, wal.ErrVersion, fourthName},
		{"newer prepared segment", func(s *specimen) {
			s.reseal(sixthName, func(h []byte) { binary.LittleEndian.PutUint32(h[8:], 7) })
		}, wal.ErrVersion, sixthName},
		{"directory for a segment", func(s *specimen) {
			s.remove(secondName)
			s.put(secondName+"/x", nil)
		}, nil, secondName},
		{"symbolic link to the segment", func(s *specimen) {
			s.rename(secondName, "elsewhere")
			if err := os.Symlink("elsewhere", filepath.Join(s.dir, secondName)); err != nil {
				s.t.Fatal(err)
			}
		}, nil, secondName},
		{"named pipe for a segment", func(s *specimen) {
			s.remove(sixthName)
			if err := unix.Mkfifo(filepath.Join(s.dir, "0000000000000006.tmp"), 0o644); err != nil {
				s.t.Fatal(err)
			}
		}, nil, "0000000000000006.tmp"},
		{"dangling symbolic link for a segment", func(s *specimen) {
			s.remove(secondName)
			if err := os.Symlink("nowhere", filepath.Join(s.dir, secondName)); err != nil {
				s.t.Fatal(err)
			}
		}, nil, secondName},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := take(t, base.dir)
			tt.hurt(s)
			s.wantRefusal(tt.want, tt.file)
		})
	}
}

// TestNoLog are directories that hold no log, to those who only look.
func TestNoLog(t *testing.T) {
	empty := t.TempDir()
	for name, dir := range map[string]string{"missing": filepath.Join(empty, "x"), "empty": empty} {
		t.Run(name, func(t *testing.T) {
			s := &specimen{t: t, dir: dir}
			for what, fn := range map[string]func() error{
				"verify": func() error { _, err := wal.Verify(s.dir); return err },
				"repair": func() error { _, err := wal.Repair(s.dir, wal.RepairOptions{Force: true}); return err },
				"dump": func() error {
					_, err := wal.Dump(s.dir, wal.DumpOptions{}, func(wal.LSN, []byte) error { return nil })
					return err
				},
			} {
				if err := fn(); !errors.Is(err, wal.ErrMissing) {
					t.Errorf("%s: %v, want ErrMissing", what, err)
				}
			}
			if entries, err := os.ReadDir(empty); err != nil || len(entries) != 0 {
				t.Errorf("left behind: %v, %v", entries, err)
			}
		})
	}
}

// TestAllSegmentsMissing removes all segments: the lock file knows better than
// to begin a new log.
func TestAllSegmentsMissing(t *testing.T) {
	s := rotated(t)
	for _, name := range s.segments() {
		s.remove(name)
	}
	const gone = "missing: the directory held a log, and all of its segments are gone"
	damage := []wal.Damage{{File: fourthName, FirstLSN: 1, LastLSN: 14, Reason: gone}}
	s.verify(finding{verdict: wal.Damaged, last: 0, durable: 14, damage: damage})
	s.refused(small(), damage)
	s.forgetCheckpoint()
	damage = []wal.Damage{{File: firstName, Unknown: true, Reason: gone}}
	s.verify(finding{verdict: wal.Damaged, last: 0, damage: damage})
	s.refused(small(), damage)
	// Leftovers of a segment that is being made do not make it another one.
	s.put("0000000000000007.tmp", []byte("garbage"))
	s.refused(small(), damage)
}

// letIn gives a test's directory, and those above it that are the test's, a mode.
func letIn(t *testing.T, dir string, mode os.FileMode) {
	t.Helper()
	for p := dir; p != os.TempDir() && p != "/dev/shm" && p != filepath.Dir(p); p = filepath.Dir(p) {
		must(t, os.Chmod(p, mode))
	}
}

// TestUnreadable takes the permission to read a segment.
func TestUnreadable(t *testing.T) {
	s := rotated(t)
	letIn(t, s.dir, 0o777)
	for _, name := range s.names() {
		if err := os.Chmod(filepath.Join(s.dir, name), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	before := readDir(t, s.dir)
	if err := os.Chmod(filepath.Join(s.dir, thirdName), 0); err != nil {
		t.Fatal(err)
	}
	errs := make(map[string]error)
	asNobody(t, func() {
		_, errs["verify"] = wal.Verify(s.dir)
		_, errs["open"] = wal.Open(s.dir, small())
		_, errs["repair"] = wal.Repair(s.dir, wal.RepairOptions{Force: true})
	})
	for what, err := range errs {
		if !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), thirdName) {
			t.Errorf("%s: %v, want a permission error that names %s", what, err, thirdName)
		}
	}
	if err := os.Chmod(filepath.Join(s.dir, thirdName), 0o644); err != nil {
		t.Fatal(err)
	}
	unchanged(t, "a refusal", s.dir, before)
}

// TestVerifyNeedsReadPermissionOnly verifies a log that may not be written to.
func TestVerifyNeedsReadPermissionOnly(t *testing.T) {
	s := rotated(t)
	letIn(t, s.dir, 0o755)
	asNobody(t, func() {
		if f, err := os.OpenFile(filepath.Join(s.dir, firstName), os.O_RDWR, 0); err == nil && os.Getuid() == 0 {
			t.Errorf("the test can write what it should not: %v", f.Close())
		}
		rep, err := wal.Verify(s.dir)
		if err != nil || rep.Verdict != wal.Clean || rep.Records != 14 {
			t.Errorf("verify: %+v, %v", rep, err)
		}
	})
}

// asNobody runs fn with the filesystem permissions of a user who owns nothing,
// where the test's own user is root, who may do everything.
func asNobody(t *testing.T, fn func()) {
	t.Helper()
	if os.Getuid() != 0 {
		fn()
		return
	}
	done := make(chan error)
	go func() {
		// The thread is not unlocked: it ends with the goroutine.
		runtime.LockOSThread()
		_, err := unix.SetfsuidRetUid(65534)
		if err == nil {
			fn()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
