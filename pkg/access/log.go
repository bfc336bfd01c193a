package access

import (
	"context"
	"fmt"
	"time"

	"github.com/pierless/pierless/pkg/registry"
)

// Entry is one change of access in the log, which keeps it for 400 days.
type Entry struct {
	Time   time.Time `json:"time"`
	Action string    `json:"action"` // such as "token created"
	By     string    `json:"by"`     // name of the caller
	IP     string    `json:"ip,omitempty"`
	Token  string    `json:"token,omitempty"` // name
	ID     string    `json:"id,omitempty"`
	Proof  string    `json:"proof,omitempty"` // of a login: the same hash again is the same proof again
	Before any       `json:"before,omitempty"`
	After  any       `json:"after,omitempty"`
}

// LogPage is a page of the log, the oldest entry first.
type LogPage struct {
	Entries []Entry `json:"entries"`
	// Next continues the list; "" at its end.
	Next string `json:"next,omitempty"`
}

// Log lists up to n entries since a time or, if after is set, after the page that ended with it.
func (a *Admin) Log(ctx context.Context, since time.Time, after string, n int) (LogPage, error) {
	if after == "" && !since.IsZero() {
		after = fmt.Sprintf("%015d", max(since.UnixMilli(), 0))
	}
	if len(after) > maxCursor {
		return LogPage{}, errInvalid("next is not that of a page of the log")
	}
	page, err := a.meta.Query(ctx, registry.Query{PK: logPartition, After: after, Limit: min(n, registry.MaxPage)})
	if err != nil {
		return LogPage{}, fmt.Errorf("read access log: %w", err)
	}
	list := LogPage{Entries: []Entry{}}
	for _, row := range page.Rows {
		e, _, err := decode[Entry](row)
		if err != nil {
			return LogPage{}, err
		}
		list.Entries = append(list.Entries, e)
	}
	if page.More {
		list.Next = page.Rows[len(page.Rows)-1].Key.SK
	}
	return list, nil
}

// maxCursor bounds LogPage.Next, in bytes.
const maxCursor = 64
