//go:build linux

package kill

import (
	"errors"
	"fmt"
	"strings"

	"github.com/seawall-wal/seawall/crashtest/campaign"
)

// Codec is a subject whose knowledge goes from process to process. One whose
// Known is campaign.Acks, as campaign.Checked makes them, needs none.
type Codec interface {
	// AppendKnown appends the encoded knowledge to b.
	AppendKnown(b []byte, k campaign.Known) ([]byte, error)
	// ParseKnown decodes it. It must not keep b.
	ParseKnown(b []byte) (campaign.Known, error)
}

// Counts are a life's records. A record has begun when its append was called; it
// is appended when that has returned, and acked when the program holds it durable.
// Each counts all records before it.
type Counts struct {
	Begun    uint64 `json:"begun"`
	Appended uint64 `json:"appended"`
	Acked    uint64 `json:"acked"`
}

// Counter is a subject that counts records. Without, acknowledgements are
// counted.
type Counter interface {
	Counts(k campaign.Known) Counts
}

// Survivor is a Found that knows which records it holds.
type Survivor interface {
	// Recovered returns the last record that is there, numbered as Counts does.
	Recovered() uint64
	// InProgress returns how many bytes there are of the record that was in
	// progress, and how many it has.
	InProgress(k campaign.Known) (found, of int64)
}

// Settler is a subject that, once what a death left was checked, knows exactly
// what is there: the next life begins with that knowledge.
type Settler interface {
	Settle(k campaign.Known, f campaign.Found) campaign.Known
}

// Inspector is a subject that can check what a death left without changing it, so
// that a life begins with a recovery that has something to do.
type Inspector interface {
	Inspect(dir string) (campaign.Found, error)
}

// Bounded is a subject that says when a directory has grown enough, so that a
// fresh one is begun.
type Bounded interface {
	Enough(f campaign.Found) bool
}

// Thorough is a subject that a campaign has to kill in each of certain places. A life
// of it that is aimed at one comes there, or ends by itself.
type Thorough interface {
	Places() []Place
}

// CodecOf returns a subject's codec: for campaigns that hand on what is known, too.
func CodecOf(s campaign.Subject) Codec {
	if c, ok := s.(Codec); ok {
		return c
	}
	return ackCodec{}
}

// countsOf counts a subject's records.
func countsOf(s campaign.Subject, k campaign.Known) Counts {
	if c, ok := s.(Counter); ok {
		return c.Counts(k)
	}
	acks, _ := k.(campaign.Acks)
	n := uint64(len(acks))
	return Counts{n, n, n}
}

// ackCodec is for subjects that only acknowledge.
type ackCodec struct{}

// AppendKnown implements Codec.
func (ackCodec) AppendKnown(b []byte, k campaign.Known) ([]byte, error) {
	acks, ok := k.(campaign.Acks)
	if !ok && k != nil {
		return b, fmt.Errorf("kill: the subject's knowledge is a %T: it needs a Codec", k)
	}
	for _, token := range acks {
		if strings.Contains(token, "\n") {
			return b, errors.New("kill: an acknowledgement has more than one line")
		}
		b = append(append(b, token...), '\n')
	}
	return b, nil
}

// ParseKnown implements Codec.
func (ackCodec) ParseKnown(b []byte) (campaign.Known, error) {
	var acks campaign.Acks
	for token := range strings.Lines(string(b)) {
		acks = append(acks, strings.TrimSuffix(token, "\n"))
	}
	return acks, nil
}
