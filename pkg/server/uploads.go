package server

import (
	"net/http"
	"strconv"

	"github.com/pierless/pierless/pkg/oci"
	"github.com/pierless/pierless/pkg/oci/route"
	"github.com/pierless/pierless/pkg/oci/upload"
	"github.com/pierless/pierless/pkg/registry"
)

// chunkMinLength is announced at the start of an upload, in bytes. Chunks of this size fit
// into an invocation of Lambda.
const chunkMinLength = 4 << 20

type uploads struct{ reg *registry.Registry }

// Uploads serves blob uploads.
func Uploads(reg *registry.Registry, opts Options) *Server {
	s := uploads{reg}
	return newServer(opts, handlers{
		route.UploadStart: {http.MethodPost: s.start},
		route.Upload: {
			http.MethodGet: s.status, http.MethodPatch: s.patch, http.MethodPut: s.put, http.MethodDelete: s.cancel,
		},
	})
}

// start mounts a blob, stores one from the body, or opens a session (spec, "Pushing blobs"
// and "Mounting a blob from another repository").
func (s uploads) start(w http.ResponseWriter, r *http.Request, req route.Request) error {
	q := r.URL.Query()
	if q.Has("mount") {
		return s.mount(w, r, req)
	}
	if q.Has("digest") {
		d, err := oci.ParseDigest(q.Get("digest"))
		if err != nil {
			return err
		}
		if err := s.reg.PushBlob(r.Context(), req.Name, d, r.ContentLength, r.Body); err != nil {
			return err
		}
		return writeCreated(w, req.Name, d)
	}
	algorithm := oci.SHA256
	if q.Has("digest-algorithm") {
		var err error
		if algorithm, err = oci.ParseAlgorithm(q.Get("digest-algorithm")); err != nil {
			return err
		}
	}
	return s.open(w, r, req, algorithm)
}

// mount opens a session if the blob cannot be mounted.
func (s uploads) mount(w http.ResponseWriter, r *http.Request, req route.Request) error {
	q := r.URL.Query()
	d, err := oci.ParseDigest(q.Get("mount"))
	if err != nil {
		return err
	}
	from := q.Get("from")
	if err := oci.CheckName(from); from != "" && err != nil {
		return err
	}
	mounted, err := s.reg.MountBlob(r.Context(), req.Name, d, from, mayPull(r))
	if err != nil {
		return err
	}
	if mounted {
		return writeCreated(w, req.Name, d)
	}
	return s.open(w, r, req, d.Algorithm())
}

func (s uploads) open(w http.ResponseWriter, r *http.Request, req route.Request, algorithm oci.Algorithm) error {
	u, err := s.reg.StartUpload(r.Context(), req.Name, algorithm)
	if err != nil {
		return err
	}
	w.Header().Set("OCI-Chunk-Min-Length", strconv.Itoa(chunkMinLength))
	return writeSession(w, http.StatusAccepted, req.Name, u)
}

// writeCreated answers that the repository has the blob, with 201, as some clients accept no
// other status.
func writeCreated(w http.ResponseWriter, name string, d oci.Digest) error {
	w.Header().Set("Location", route.Request{Kind: route.Blob, Name: name, Digest: d}.Path())
	w.Header().Set("Docker-Content-Digest", string(d))
	return writeEmpty(w, http.StatusCreated)
}

// writeSession answers with the state of a session.
func writeSession(w http.ResponseWriter, status int, name string, u registry.Upload) error {
	setUpload(w, name, u)
	w.Header().Set("Docker-Upload-UUID", u.ID)
	return writeEmpty(w, status)
}

// setUpload sets Location, which is relative so that clients keep the host by which they
// reach the registry, and Range, which is 0-0 even for an empty upload: some clients stop
// without it.
func setUpload(w http.ResponseWriter, name string, u registry.Upload) {
	w.Header().Set("Location", route.Request{Kind: route.Upload, Name: name, Upload: u.ID}.Path())
	w.Header().Set("Range", upload.Range(u.Offset))
}

// status answers with the offset of an upload (spec, end-13).
func (s uploads) status(w http.ResponseWriter, r *http.Request, req route.Request) error {
	u, err := s.reg.UploadStatus(r.Context(), req.Name, req.Upload)
	if err != nil {
		return err
	}
	setUpload(w, req.Name, u)
	w.Header().Set("Docker-Upload-UUID", u.ID)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// patch appends a chunk or a stream of any length (spec, end-5).
func (s uploads) patch(w http.ResponseWriter, r *http.Request, req route.Request) error {
	chunk, err := upload.ParseChunk(r)
	if err != nil {
		return err
	}
	u, err := s.reg.AppendUpload(r.Context(), req.Name, req.Upload, chunk)
	if err != nil {
		return err
	}
	return writeSession(w, http.StatusAccepted, req.Name, u)
}

// put completes an upload, with or without a last chunk (spec, end-6).
func (s uploads) put(w http.ResponseWriter, r *http.Request, req route.Request) error {
	finish, err := upload.ParseFinish(r)
	if err != nil {
		return err
	}
	if err := s.reg.CompleteUpload(r.Context(), req.Name, req.Upload, finish); err != nil {
		return err
	}
	return writeCreated(w, req.Name, finish.Digest)
}

// cancel deletes an upload (spec, end-14).
func (s uploads) cancel(w http.ResponseWriter, r *http.Request, req route.Request) error {
	if err := s.reg.CancelUpload(r.Context(), req.Name, req.Upload); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
