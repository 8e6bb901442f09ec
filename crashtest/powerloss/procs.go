//go:build linux

package powerloss

import (
	"runtime"
	"sync"
)

// processors are those that campaigns have asked for: a load that waits for a
// disk keeps its processor, so that there has to be one for each disk, and for
// those that do not wait. With the last campaign all is as it was.
var processors struct {
	mu    sync.Mutex
	users int
	was   int
}

// moreProcessors sees to so many processors, until release is called.
func moreProcessors(n int) (release func()) {
	p := &processors
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.users++; p.users == 1 {
		p.was = runtime.GOMAXPROCS(0)
	}
	if n > runtime.GOMAXPROCS(0) {
		runtime.GOMAXPROCS(n)
	}
	return sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.users--; p.users == 0 {
			runtime.GOMAXPROCS(p.was)
		}
	})
}
