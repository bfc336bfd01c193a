package server

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
	"github.com/pierless/pierless/pkg/registry"
)

type tags struct{ reg *registry.Registry }

// Tags serves the tags of a repository.
func Tags(reg *registry.Registry, opts Options) *Server {
	s := tags{reg}
	return newServer(opts, handlers{route.TagList: {http.MethodGet: s.list, http.MethodHead: s.list}})
}

type tagsAnswer struct {
	Name string   `json:"name"`
	Tags []string `json:"tags"`
}

func (s tags) list(w http.ResponseWriter, r *http.Request, req route.Request) error {
	page, err := parsePage(r, oci.CheckTag)
	if err != nil {
		return err
	}
	list, err := s.reg.Tags(r.Context(), req.Name, page.last, page.n)
	if err != nil {
		return err
	}
	linkNext(w, req, page, list)
	writeJSON(w, http.StatusOK, tagsAnswer{req.Name, list.Names})
	return nil
}

// page holds the parameters n and last of a list (spec, "Listing Tags").
type page struct {
	n    int
	last string
}

func parsePage(r *http.Request, checkLast func(string) error) (page, error) {
	q := r.URL.Query()
	p := page{n: registry.MaxPage, last: q.Get("last")}
	if q.Has("n") {
		n, err := strconv.ParseUint(q.Get("n"), 10, 31)
		if err != nil {
			return page{}, oci.NewError(oci.PaginationNumberInvalid, "n must be a whole number that is not negative")
		}
		p.n = int(n)
	}
	if p.last != "" && checkLast(p.last) != nil {
		return page{}, oci.NewError(oci.PaginationNumberInvalid, "last must be a valid entry of the list")
	}
	return p, nil
}

// linkNext sets the Link header of a list with more pages (RFC 5988).
func linkNext(w http.ResponseWriter, req route.Request, p page, list registry.List) {
	if !list.More || len(list.Names) == 0 {
		return
	}
	q := url.Values{"n": {strconv.Itoa(min(p.n, registry.MaxPage))}, "last": {list.Names[len(list.Names)-1]}}
	setLink(w, req, q)
}

func setLink(w http.ResponseWriter, req route.Request, q url.Values) {
	w.Header().Set("Link", fmt.Sprintf(`<%s?%s>; rel="next"`, req.Path(), q.Encode()))
}
