package oci

// DeletedRepository is the answer to the delete of a repository (docs/operations.md). Manifests
// and Tags count those that this request deleted.
type DeletedRepository struct {
	Manifests int  `json:"manifests"`
	Tags      int  `json:"tags"`
	More      bool `json:"more"` // manifests or tags are left: the client must repeat the request
}
