//go:build race

package durability

// Under the race detector sync/atomic runs in its C++ runtime, on a stack where
// a SIGBUS ends the process whatever SetPanicOnFault says. For memory outside of
// the Go heap it orders nothing there either (runtime, racecallatomic_ignore).
// The compiler makes one instruction of an aligned word, which is atomic on
// amd64 and arm64 alike.

//go:norace
//go:noinline
func loadWord(p *uint64) uint64 { return *p }

//go:norace
//go:noinline
func storeWord(p *uint64, v uint64) { *p = v }
