//go:build linux

package bench

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// userHz is the unit of /proc/stat, ticks a second: 100 on amd64 and arm64.
const userHz = 100

// reading is what the kernel counts, at one moment. What it does not tell is -1.
type reading struct {
	at         time.Time
	calls      int64 // read and write calls of this process (/proc/self/io: syscr, syscw)
	dirtied    int64 // bytes that it made the page cache write (write_bytes)
	device     int64 // bytes written to the block device, by everybody
	minor      int64 // faults of this process (getrusage)
	major      int64
	own        time.Duration // processor time of this process
	everybody  time.Duration // and of the machine, interrupts included (/proc/stat)
	processors int           // of the machine
}

// meter takes readings.
type meter struct {
	io     *os.File // /proc/self/io, or nil
	device string   // the device's file in sysfs, or ""
}

// newMeter returns a meter for the filesystem that dir lies on.
func newMeter(dir string) *meter {
	m := &meter{}
	if f, err := os.Open("/proc/self/io"); err == nil {
		m.io = f
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err == nil {
		path := fmt.Sprintf("/sys/dev/block/%d:%d/stat", unix.Major(st.Dev), unix.Minor(st.Dev))
		if _, err := os.Stat(path); err == nil {
			m.device = path
		}
	}
	return m
}

// close gives back the meter's descriptor.
func (m *meter) close() {
	if m.io != nil {
		_ = m.io.Close()
	}
}

// begin takes the reading before a run: what the meter reads itself comes first.
func (m *meter) begin() (r reading) {
	m.readMachine(&r)
	m.readOwn(&r)
	r.at = time.Now()
	return r
}

// end takes the reading behind a run.
func (m *meter) end() (r reading) {
	r.at = time.Now()
	m.readOwn(&r)
	m.readMachine(&r)
	return r
}

// readOwn reads what is counted of this process.
func (m *meter) readOwn(r *reading) {
	r.calls, r.dirtied = -1, -1
	if m.io != nil {
		var b [1024]byte
		if n, err := unix.Pread(int(m.io.Fd()), b[:], 0); err == nil {
			r.calls = sumOf(field(b[:n], "syscr:"), field(b[:n], "syscw:"))
			r.dirtied = field(b[:n], "write_bytes:")
		}
	}
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err == nil {
		r.minor, r.major = u.Minflt, u.Majflt
		r.own = time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
}

// readMachine reads what is counted of the machine.
func (m *meter) readMachine(r *reading) {
	r.device = -1
	if m.device != "" {
		text, err := os.ReadFile(m.device)
		// Documentation/block/stat.rst: the seventh is write sectors, of 512 bytes.
		if fields := strings.Fields(string(text)); err == nil && len(fields) >= 7 {
			if n, err := strconv.ParseInt(fields[6], 10, 64); err == nil {
				r.device = n * 512
			}
		}
	}
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		switch {
		case len(fields) < 9 || !strings.HasPrefix(fields[0], "cpu"):
		case fields[0] == "cpu":
			// proc_stat(5): user nice system idle iowait irq softirq steal.
			for i, f := range fields[1:9] {
				if n, err := strconv.ParseInt(f, 10, 64); err == nil && i != 3 && i != 4 {
					r.everybody += time.Duration(n) * (time.Second / userHz)
				}
			}
		default:
			r.processors++
		}
	}
}

// field returns the number behind a word, or -1.
func field(text []byte, word string) int64 {
	// A word may end another one: cancelled_write_bytes.
	_, after, ok := bytes.Cut(append([]byte("\n"), text...), []byte("\n"+word))
	if !ok {
		return -1
	}
	line, _, _ := bytes.Cut(after, []byte("\n"))
	n, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// sumOf returns the sum of numbers, or -1 where one is not known.
func sumOf(ns ...int64) (sum int64) {
	for _, n := range ns {
		if n < 0 {
			return -1
		}
		sum += n
	}
	return sum
}

// counted is what was counted between readings, over all runs of a contender.
type counted struct {
	calls, dirtied, device *int64 // nil: not known
	minor, major           int64
	own, everybody, wall   time.Duration // wall: times the processors
}

// add adds what was counted between two readings.
func (c *counted) add(from, to reading) {
	// The first reading's own read is counted when it is over.
	c.calls = added(c.calls, from.calls, to.calls-1)
	c.dirtied = added(c.dirtied, from.dirtied, to.dirtied)
	c.device = added(c.device, from.device, to.device)
	c.minor += to.minor - from.minor
	c.major += to.major - from.major
	c.own += to.own - from.own
	if to.processors == from.processors { // none came or went
		c.everybody += to.everybody - from.everybody
		c.wall += to.at.Sub(from.at) * time.Duration(to.processors)
	}
}

// added adds a difference to a sum, which stays unknown where it is not known.
func added(sum *int64, from, to int64) *int64 {
	if from < 0 || to < 0 {
		return sum
	}
	n := max(0, to-from)
	if sum != nil {
		n += *sum
	}
	return &n
}
