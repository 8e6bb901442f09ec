package probe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seawall-wal/seawall/durability"
)

const (
	// DefaultBudget is what the measurements take at most, all together. The device is
	// waited for up to stuckAfter longer, and the files are removed behind that.
	DefaultBudget = 12 * time.Second

	// stuckAfter is how long a measurement whose time is over is waited for: one system
	// call, which cannot be cut short.
	stuckAfter = 5 * time.Second

	// spaceBytes is what the files of a probe take at the most, with a margin.
	spaceBytes = 64 << 20
)

// pageBytes is the size of a VM page.
var pageBytes = int64(os.Getpagesize())

// Options say how a directory is probed. The zero value is a good default.
type Options struct {
	// Budget is the time in which samples are taken; 0 is DefaultBudget. With less there
	// are fewer samples, but one of each as long as the disk gives it in the default's time.
	Budget time.Duration
	// Progress, if it is not nil, is told what is measured next.
	Progress func(what string)
}

// run is a probe on its way.
type run struct {
	dir     *durability.Dir // the scratch directory
	probed  *durability.Dir
	device  *device // whose counters are read; nil where there is none
	result  *Result
	options Options
	stuck   bool
}

// Run probes a directory that exists and can be written. It needs 64 MiB of space for
// a moment. A directory that cannot be used is an error; so is a context that
// has ended, with its cause. Several probes may run at once, and measure each other.
func Run(ctx context.Context, dir string, o Options) (_ *Result, err error) {
	begin := time.Now()
	if o.Budget <= 0 {
		o.Budget = DefaultBudget
	}
	probed, err := durability.OpenDir(dir, nil)
	if err != nil {
		return nil, fmt.Errorf("probe: %w", err)
	}
	defer func() { err = errors.Join(err, probed.Close()) }()
	scratch, remove, err := makeScratch(probed)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	r := &run{dir: scratch, probed: probed, options: o, result: &Result{
		Dir: dir, PageBytes: pageBytes, Kernel: kernel(), Devices: []Device{}, Supports: []Support{},
		Syncs: []Sync{}, Folios: []Folio{}, Faults: []Fault{}, NotMeasured: []NotMeasured{},
	}}
	if err = r.look(); err != nil {
		return nil, err
	}
	if err = r.measure(ctx); err != nil {
		return nil, err
	}
	r.result.Flush = judge(r.result)
	r.result.Advice = advise(r.result)
	r.result.Seconds = time.Since(begin).Seconds()
	return r.result, nil
}

// makeScratch makes a directory for the probe's files, and returns what removes it.
func makeScratch(probed *durability.Dir) (d *durability.Dir, remove func() error, err error) {
	if err = probed.Writable(); err != nil {
		return nil, nil, fmt.Errorf("probe: %w; a probe writes files: choose a directory that you may write", err)
	}
	path, err := os.MkdirTemp(probed.Path(), ".seawall-probe-")
	if err != nil {
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
			err = fullError(probed.Path(), err)
		}
		return nil, nil, fmt.Errorf("probe: no scratch directory: %w", err)
	}
	d, err = durability.OpenDir(path, nil)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("probe: %w", err), os.Remove(path))
	}
	return d, func() error { return errors.Join(d.Close(), os.RemoveAll(path)) }, nil
}

// fullError says how much a probe needs.
func fullError(dir string, err error) error {
	return fmt.Errorf("%s has no space for the files of a probe, %d MiB (free some, or raise the quota): %w", dir, int64(spaceBytes)>>20, err)
}

// note adds what was not measured, in one line.
func (r *run) note(what string, why any) {
	line := strings.ReplaceAll(fmt.Sprint(why), "\n", "; ")
	line = strings.ReplaceAll(line, r.dir.Path()+"/", "")
	r.result.NotMeasured = append(r.result.NotMeasured, NotMeasured{What: what, Why: line})
}

// look finds out what can be seen without a measurement.
func (r *run) look() error {
	var err error
	if r.result.Filesystem, err = filesystemOf(r.probed, r.note); err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	if free := r.result.Filesystem.FreeBytes; free >= 0 && free < spaceBytes {
		return fmt.Errorf("probe: %w", fullError(r.probed.Path(),
			fmt.Errorf("%w: %d KiB are free", durability.ErrNoSpace, free>>10)))
	}
	found := findDevices(r.probed.Path(), r.result.Filesystem, r.note)
	for _, d := range found {
		r.result.Devices = append(r.result.Devices, d.Device)
	}
	if len(found) > 0 {
		r.device = found[0]
	}
	return nil
}

// measure makes the measurements one after the other. Their shares of the budget are
// what they need on a disk whose sync takes 10 ms.
func (r *run) measure(ctx context.Context) error {
	for _, part := range []struct {
		name  string
		share float64
		do    func(*bench) (func(*Result), error)
	}{
		{"what is supported", 0.05, measureSupport},
		{"coherence of mappings", 0.05, measurePromise},
		{"sync latency", 0.5, measureSyncs},
		{"folio size", 0.2, measureFolios},
		{"faults", 0.1, measureFaults},
		{"filling segments", 0.1, measureFill},
	} {
		if r.options.Progress != nil {
			r.options.Progress(part.name)
		}
		if r.stuck {
			r.note(part.name, "the device had not answered by then")
			continue
		}
		budget := time.Duration(float64(r.options.Budget) * part.share)
		bound := time.Duration(float64(max(r.options.Budget, DefaultBudget)) * part.share)
		put, err := within(ctx, bound, stuckAfter, func(ctx context.Context) (func(*Result), error) {
			b := &bench{ctx: ctx, dir: r.dir, probed: r.probed, device: r.device, begin: time.Now(), budget: budget, bound: bound}
			put, err := part.do(b)
			return put, errors.Join(err, b.close())
		})
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, durability.ErrNoSpace):
			return fmt.Errorf("probe: %w", fullError(r.probed.Path(), err))
		case errors.Is(err, errStuck):
			r.stuck = true
		case errors.Is(err, context.DeadlineExceeded):
			err = fmt.Errorf("its %v were over before there was anything to tell", bound)
		}
		if put != nil {
			put(r.result)
		}
		if err != nil {
			r.note(part.name, err)
		}
	}
	return nil
}

// errStuck says that a measurement did not end.
var errStuck = errors.New("one system call has not come back")

// within does work whose context ends after a time, and leaves it alone where it has not
// come back a while after that: it waits for a device that does not answer.
func within(ctx context.Context, budget, patience time.Duration, work func(context.Context) (func(*Result), error)) (func(*Result), error) {
	type answer struct {
		put func(*Result)
		err error
	}
	inner, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	done := make(chan answer, 1)
	go func() {
		put, err := work(inner)
		done <- answer{put, err}
	}()
	select {
	case a := <-done:
		return a.put, a.err
	case <-inner.Done():
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case a := <-done:
		return a.put, a.err
	case <-late.C:
		return nil, fmt.Errorf("%w after %v", errStuck, budget+patience)
	}
}
