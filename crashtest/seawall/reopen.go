//go:build linux

package seawall

import (
	"errors"
	"fmt"

	"github.com/seawall-wal/seawall/crashtest/campaign"
	"github.com/seawall-wal/seawall/crashtest/kill"
)

// closeAndReopen closes the log, and opens it under the same options.
func (w *work) closeAndReopen() error {
	leave := w.enter(kill.Sync)
	w.doing("close")
	err := w.sync(w.log.Close(), "close")
	leave()
	if err != nil {
		return err
	}
	return w.reopen()
}

// reopen opens the log, and holds what it finds against what is known.
func (w *work) reopen() error {
	before := w.mark()
	leave := w.enter(kill.Recovery)
	w.doing("open")
	l, err := w.subject.open(w.dir(), w.opts)
	leave()
	if err != nil {
		return misjudged("open", err)
	}
	if w.log, w.to = l, l; w.subject.Before != nil {
		w.to = w.subject.Before(l)
	}
	held, err := ReadOpen(l)
	if err == nil {
		if b := campaign.Check(held, before, w.life.Killed); b != nil && w.life.Known != nil && before == w.life.Known {
			err = b
		} else if b := campaign.Check(held, before, true); b != nil && before != w.life.Known {
			err = b
		}
	}
	if err == nil {
		err = durable(l)
	}
	if err != nil {
		return errors.Join(err, l.Close())
	}
	w.set(func(m *Mark) {
		for _, one := range m.worlds() {
			if (!one.unseen || !w.life.Killed) && held.is(one, w.life.Killed) == nil {
				*m = *one
				break
			}
		}
		m.over()
		m.writers, m.situation, m.unseen = nil, 0, false
		m.end(l.LastLSN())
	})
	return nil
}

// end closes the log, and reads it once more.
func (w *work) end() error {
	w.doing("close")
	if err := w.sync(w.log.Close(), "close"); err != nil {
		return err
	}
	held, err := w.subject.verifyAndDump(w.dir(), true)
	if err != nil {
		return err
	}
	m := w.mark()
	if b := campaign.Check(held, m, true); b != nil {
		b.Kind = campaign.Stuck
		return b
	}
	if held.Last != m.begun {
		return broken("close", fmt.Errorf("the log holds records up to %d of %d", held.Last, m.begun))
	}
	return nil
}
