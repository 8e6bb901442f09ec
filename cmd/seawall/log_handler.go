//go:build linux

package main

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// talk is a slog.Handler that says what the log has to say on stderr, in the
// command's own voice: no time, no level, and nothing twice in a row.
type talk struct {
	p     *process
	level slog.Level
	attrs []slog.Attr
	last  *atomic.Pointer[string] // what was said last
}

// newTalk returns a logger that says what people should know.
func newTalk(p *process) *slog.Logger {
	return slog.New(&talk{p: p, level: slog.LevelWarn, last: new(atomic.Pointer[string])})
}

// Enabled implements slog.Handler.
func (t *talk) Enabled(_ context.Context, level slog.Level) bool { return level >= t.level }

// Handle implements slog.Handler.
func (t *talk) Handle(_ context.Context, r slog.Record) error {
	attrs := t.attrs[:len(t.attrs):len(t.attrs)]
	r.Attrs(func(a slog.Attr) bool {
		attrs = append(attrs, a)
		return true
	})
	words := make([]string, 0, len(attrs))
	for _, a := range attrs {
		words = append(words, a.String())
	}
	text := r.Message
	if len(words) > 0 {
		text += " (" + strings.Join(words, " ") + ")"
	}
	if last := t.last.Swap(&text); last == nil || *last != text {
		t.p.say("%s", text)
	}
	return nil
}

// WithAttrs implements slog.Handler.
func (t *talk) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *t
	c.attrs = append(c.attrs[:len(c.attrs):len(c.attrs)], attrs...)
	return &c
}

// WithGroup implements slog.Handler. The log has no groups.
func (t *talk) WithGroup(string) slog.Handler { return t }

// isTerminal reports whether a file is a terminal.
func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
