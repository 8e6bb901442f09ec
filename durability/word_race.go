//go:build race && (amd64 || arm64)

package durability

// Under the race detector sync/atomic runs in its C++ runtime, on a stack where
// a SIGBUS ends the process whatever SetPanicOnFault says. These are the
// instructions that sync/atomic has without the detector: plain moves of the
// compiler would be whole words too, but on arm64 nobody would order them behind
// the payload that they announce. The detector loses nothing: it takes atomics on
// memory outside of the Go heap for no order at all (runtime, racecallatomic_ignore).

// loadWord loads a word of a mapping, in one atomic load.
//
//go:noescape
func loadWord(p *uint64) uint64

// storeWord stores a word of a mapping, in one atomic store.
//
//go:noescape
func storeWord(p *uint64, v uint64)

// storeNothing stores into a word of a mapping what it holds, in one atomic step.
//
//go:noescape
func storeNothing(p *uint32)
