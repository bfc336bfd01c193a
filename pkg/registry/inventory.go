package registry

import (
	"context"
	"time"
)

// The interfaces in this file list everything that a store has. Only Scrub needs them: requests and
// the sweep never list, so functions need no permission for it. They are not part of the ports.

// Object is the content of one key in Blobs.
type Object struct {
	Key      string
	Size     int64     // in bytes
	Modified time.Time // when it was stored
}

// ObjectPage is one page of a list. If More is set, the page has at least one object, and the key
// of its last object is the after of the next page.
type ObjectPage struct {
	Objects []Object
	More    bool
}

// ObjectLister lists the content of a Blobs.
type ObjectLister interface {
	// ListObjects lists keys with content that sort after the key after, in byte order; "" means
	// from the start. limit is from 1 to MaxPage. The list has every object that was stored before
	// the call began and is not deleted until it ends. Names that are no content keys are left out.
	ListObjects(ctx context.Context, after string, limit int) (ObjectPage, error)
}

// RowScanner reads all rows of a Metadata.
type RowScanner interface {
	// ScanRows reads rows of all partitions, in an order of the store. The zero Key means from the
	// start; the key of the last row of a page is the after of the next one, and need not exist any
	// more. limit is from 1 to MaxPage. All pages together have every row that exists from the
	// first call to the end of the last one, exactly once, as it was at some time between.
	ScanRows(ctx context.Context, after Key, limit int) (Page, error)
}

// IsContentKey reports whether a name is a content key: 64 lower case hexadecimal digits.
func IsContentKey(name string) bool {
	if len(name) != 64 {
		return false
	}
	for _, c := range []byte(name) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
