//go:build linux

package blockdev

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/rpc"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// serverEnv is the environment variable that makes a process a server: what it is
// to serve, as JSON.
const serverEnv = "SEAWALL_BLOCKDEV"

// serverSocket is the descriptor by which the lab asks.
const serverSocket = 3

// serverArgs are what a server is to do.
type serverArgs struct {
	Dir   string  `json:"dir"` // of the lab
	Sizes []int64 `json:"sizes,omitempty"`

	// Sweep makes the process remove what the lab left, and not serve.
	Sweep bool `json:"sweep,omitempty"`
}

// fuseName is the directory of the FUSE mount, in a lab's.
const fuseName = "fuse"

// A process that was started as a server does nothing else, whatever the program
// is: no main and no test of it has to know of servers, or can forget to.
func init() {
	text := os.Getenv(serverEnv)
	if text == "" {
		return
	}
	var args serverArgs
	err := json.Unmarshal([]byte(text), &args)
	switch {
	case err != nil:
	case args.Sweep:
		_, err = sweep(args.Dir)
	default:
		err = serve(args)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "blockdev: server:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// serve serves disks until the FUSE mount goes.
func serve(args serverArgs) error {
	// A Ctrl-C is the lab's to deal with: it needs its disks to unmount them.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	s := &service{layers: map[int]*layer{0: newLayer(nil)}}
	for _, size := range args.Sizes {
		d := &served{bytes: size}
		d.fork(nil, true, nil)
		s.disks = append(s.disks, d)
	}
	socket := os.NewFile(serverSocket, "lab")
	conn, err := net.FileConn(socket)
	if err == nil {
		err = socket.Close()
	}
	if err != nil {
		return err
	}
	mounted, err := mountFiles(filepath.Join(args.Dir, fuseName), s.disks)
	if err != nil {
		return err
	}
	r := rpc.NewServer()
	if err = r.RegisterName("disks", s); err != nil {
		return err
	}
	go func() {
		r.ServeConn(conn) // until the lab is gone, or has closed it
		// What a killed lab leaves needs a server to be unmounted, and another process
		// to do it.
		if serr := startSweep(args.Dir); serr != nil {
			_ = mounted.Unmount() // the sweep by hand does the rest
		}
	}()
	mounted.Wait()
	return nil
}

// startSweep starts a process that removes what the lab left.
func startSweep(dir string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	text, err := json.Marshal(serverArgs{Dir: dir, Sweep: true})
	if err != nil {
		return err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), serverEnv+"="+string(text))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err = cmd.Start(); err != nil {
		return err
	}
	return cmd.Process.Release()
}

// service is what the lab asks by remote procedure calls. Its methods are called
// at once.
type service struct {
	disks []*served

	mu     sync.Mutex
	layers map[int]*layer
	last   int
}

// None is an empty reply.
type None struct{}

// errNoDisk and errNoLayer are bugs of the lab.
var (
	errNoDisk  = errors.New("blockdev: no such disk")
	errNoLayer = errors.New("blockdev: no such layer")
)

func (s *service) disk(n int) (*served, error) {
	if n < 0 || n >= len(s.disks) {
		return nil, errNoDisk
	}
	return s.disks[n], nil
}

// view returns the view that is meant.
func (s *service) view(v View) (*view, error) {
	s.mu.Lock()
	l := s.layers[v.Layer]
	s.mu.Unlock()
	if l == nil {
		return nil, errNoLayer
	}
	own := &view{layer: l, cut: min(v.Cut, len(l.events)), lost: make(map[int32]map[int32]bool, len(v.Lost))}
	for _, lost := range v.Lost {
		if lost.Sectors == nil {
			own.lost[int32(lost.Event)] = nil
			continue
		}
		sectors := make(map[int32]bool, len(lost.Sectors))
		for _, n := range lost.Sectors {
			sectors[int32(n)] = true
		}
		own.lost[int32(lost.Event)] = sectors
	}
	return own, nil
}

// ForkArgs asks that a disk holds a view, with faults.
type ForkArgs struct {
	Disk   int
	View   View
	Record bool
	Faults []Fault
}

// Fork lets a disk hold a view.
func (s *service) Fork(a ForkArgs, _ *None) error {
	d, err := s.disk(a.Disk)
	if err != nil {
		return err
	}
	v, err := s.view(a.View)
	if err != nil {
		return err
	}
	faults, err := arm(a.Faults)
	if err != nil {
		return err
	}
	d.fork(v, a.Record, faults)
	return nil
}

// Arm gives a disk faults, in place of those that it has.
func (s *service) Arm(a ForkArgs, _ *None) error {
	d, err := s.disk(a.Disk)
	if err != nil {
		return err
	}
	faults, err := arm(a.Faults)
	if err != nil {
		return err
	}
	d.arm(faults)
	return nil
}

// ListenArgs names the pipe of acknowledgements.
type ListenArgs struct {
	Disk int
	Path string
}

// Listen drains a named pipe from now on.
func (s *service) Listen(a ListenArgs, _ *None) error {
	d, err := s.disk(a.Disk)
	if err != nil {
		return err
	}
	// Not os.Open: its poller would take what is to be drained in order.
	fd, err := unix.Open(a.Path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	pipe := os.NewFile(uintptr(fd), a.Path)
	d.listen(pipe) // before the first acknowledgement can be said
	go d.hear(pipe)
	return nil
}

// Layer is a finished layer.
type Layer struct {
	ID     int
	Events []Event
	Acks   []string
	Below  map[int64]uint64 // sums of the sectors below those that were written
}

// Cut ends a disk's layer.
func (s *service) Cut(disk int, out *Layer) error {
	d, err := s.disk(disk)
	if err != nil {
		return err
	}
	l := d.cut()
	if l == nil {
		return errors.New("blockdev: nothing was recorded")
	}
	out.Events, out.Acks, out.Below = l.events, l.acks, make(map[int64]uint64)
	p := make([]byte, SectorBytes)
	for n, b := range l.blocks {
		for i := range b {
			if len(b[i]) == 0 {
				continue
			}
			sector := n*blockSectors + int64(i)
			clear(p)
			if l.under != nil {
				l.under.read(p, sector*SectorBytes)
			}
			if sum := SectorSum(sector, p); sum != 0 {
				out.Below[sector] = sum
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	out.ID = s.last
	s.layers[out.ID] = l
	return nil
}

// Drop forgets a layer.
func (s *service) Drop(id int, _ *None) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.layers, id)
	return nil
}

// Image is what a disk holds: its blocks of BlockBytes by their numbers, without those that
// hold nothing but zeros.
type Image map[int64][]byte

// Image returns what a view holds.
func (s *service) Image(v View, out *Image) error {
	own, err := s.view(v)
	if err != nil {
		return err
	}
	*out = Image{}
	for at := own; at != nil; at = at.layer.under {
		for n := range at.layer.blocks {
			if (*out)[n] != nil {
				continue
			}
			p := make([]byte, BlockBytes)
			if own.read(p, n*BlockBytes); !allZero(p) {
				(*out)[n] = p
			}
		}
	}
	return nil
}

// OverlayArgs asks for a layer that holds an image on a view.
type OverlayArgs struct {
	View  View
	Image Image
}

// Overlay makes a layer that holds an image, and where that has no block what a view holds.
func (s *service) Overlay(a OverlayArgs, id *int) error {
	v, err := s.view(a.View)
	if err != nil {
		return err
	}
	return s.load(newLayer(v), a.Image, id)
}

// Load makes a layer that holds an image.
func (s *service) Load(image Image, id *int) error { return s.load(newLayer(nil), image, id) }

// load fills a layer with an image, and keeps it.
func (s *service) load(l *layer, image Image, id *int) error {
	for n, p := range image {
		if len(p) != BlockBytes || n < 0 || n >= maxDiskBytes/BlockBytes {
			return fmt.Errorf("blockdev: block %d of an image has %d bytes", n, len(p))
		}
		l.add(Event{Op: Write, Off: n * BlockBytes, Length: BlockBytes}, p)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	*id = s.last
	s.layers[*id] = l
	return nil
}

// Touched are the blocks that were read and written since the fork.
type Touched struct{ Read, Written []int64 }

// Touched tells what was read and written.
func (s *service) Touched(disk int, out *Touched) error {
	d, err := s.disk(disk)
	if err != nil {
		return err
	}
	out.Read, out.Written = d.touched()
	return nil
}

// ReadArgs asks for bytes of a view.
type ReadArgs struct {
	View   View
	Off    int64
	Length int64
}

// ReadView returns bytes of a view.
func (s *service) ReadView(a ReadArgs, out *[]byte) error {
	v, err := s.view(a.View)
	if err != nil {
		return err
	}
	if a.Length < 0 || a.Length > 64<<20 || a.Off%SectorBytes != 0 || a.Length%SectorBytes != 0 {
		return errors.New("blockdev: read of no whole sectors")
	}
	*out = make([]byte, a.Length)
	v.read(*out, a.Off)
	return nil
}
