package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pierless/pierless/pkg/client"
	"github.com/pierless/pierless/pkg/client/images"
	"github.com/pierless/pierless/pkg/oci"
)

// removal has the flags of rm.
type removal struct {
	credentials
	plainHTTP, json, quiet    bool
	dryRun, wholeRepositories bool
	internalHosts             []string
}

func newRm(getenv func(string) string) *cobra.Command {
	cmd := &cobra.Command{
		Use: "rm [flags] HOST/NAME:TAG|HOST/NAME@DIGEST...", Short: "Delete tags, images or repositories from a registry",
	}
	var f removal
	flags := cmd.Flags()
	f.addFlags(cmd, getenv)
	flags.BoolVar(&f.wholeRepositories, "repository", false, "delete whole repositories: the arguments are HOST/NAME")
	flags.BoolVar(&f.dryRun, "dry-run", false, "report what would be deleted, and delete nothing")
	addInternalHosts(cmd, &f.internalHosts)
	flags.BoolVar(&f.plainHTTP, "plain-http", false, "use http for the registry")
	flags.BoolVar(&f.json, "json", false, "write the results as JSON")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "show no progress")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return status2{err} })
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return status2{fmt.Errorf("name what to delete: %s", cmd.UseLine())}
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		targets, err := f.targets(args)
		if err == nil {
			err = f.check()
		}
		if err == nil {
			err = f.read(cmd.InOrStdin())
		}
		if err != nil {
			return status2{err}
		}
		return f.run(cmd, getenv, targets)
	}
	return cmd
}

// targets parses the arguments. All must be right before anything is deleted.
func (f *removal) targets(args []string) ([]images.Name, error) {
	var targets []images.Name
	for _, arg := range args {
		name, err := f.target(arg)
		if err != nil {
			return nil, err
		}
		if len(targets) > 0 && targets[0].Host != name.Host {
			return nil, fmt.Errorf("%s and %s are two registries: delete from one at a time", targets[0].Host, name.Host)
		}
		targets = append(targets, name)
	}
	return targets, nil
}

// target parses an argument. A tag that is not there is not "latest", as it is for a pull.
func (f *removal) target(arg string) (images.Name, error) {
	ref, err := images.ParseReference(arg, images.InRegistry)
	if err != nil {
		return images.Name{}, err
	}
	name := ref.Name
	if ref.Transport != images.InRegistry {
		return name, fmt.Errorf("%s is not in a registry", arg)
	}
	if name.Tag == "latest" && !strings.HasSuffix(arg, ":latest") && name.Digest == "" {
		name.Tag = ""
	}
	bare := name.Tag == "" && name.Digest == ""
	switch {
	case !name.HasHost:
		return name, fmt.Errorf("%s has no registry host: use HOST/%s, or docker.io/NAME for Docker Hub", arg, arg)
	case name.Tag != "" && name.Digest != "":
		return name, fmt.Errorf("%s has a tag and a digest: use the tag to delete the tag alone, the digest to delete the image with all of its tags", arg)
	case bare && !f.wholeRepositories:
		return name, fmt.Errorf("%s is a repository: add a tag or a digest, or --repository to delete all of its images", arg)
	case !bare && f.wholeRepositories:
		return name, fmt.Errorf("%s is not a repository: leave out --repository, or the tag or digest", arg)
	}
	return name, nil
}

// removed is the result for one argument.
type removed struct {
	Name      string     `json:"name"`
	Kind      string     `json:"kind"` // tag, manifest or repository
	Digest    oci.Digest `json:"digest,omitempty"`
	Manifests int        `json:"manifests,omitempty"` // that were deleted with a repository
	Tags      int        `json:"tags,omitempty"`
	Left      string     `json:"left,omitempty"` // content that the registry may still have
	DryRun    bool       `json:"dry_run,omitempty"`
	Error     string     `json:"error,omitempty"`
}

// run deletes the targets one by one. It continues after an error, as other targets may succeed.
func (f *removal) run(cmd *cobra.Command, getenv func(string) string, targets []images.Name) error {
	base, err := client.ParseRegistry(targets[0].Host, f.plainHTTP)
	if err != nil {
		return status2{err}
	}
	c, err := client.New(base.String(), client.Options{
		Credentials: f.logins(getenv, base.Host), UserAgent: userAgent(), InternalHosts: f.internalHosts,
		Log: slog.New(newNotices(cmd.ErrOrStderr())),
	})
	if err != nil {
		return err
	}
	var errs []error
	results := []removed{}
	for _, name := range targets {
		result, err := f.remove(cmd, c, name)
		if err != nil {
			err = fmt.Errorf("%s: %w", result.Name, advised(err))
			result.Error = client.Printable(err.Error())
			errs = append(errs, err)
		}
		results = append(results, result)
		if err == nil && !f.json {
			err = result.write(cmd.OutOrStdout())
			errs = append(errs, err)
		}
		if cmd.Context().Err() != nil {
			break
		}
	}
	if f.json {
		errs = append(errs, writeJSON(cmd.OutOrStdout(), results))
	}
	return errors.Join(errs...)
}

// remove deletes one target, or finds out what would be deleted.
func (f *removal) remove(cmd *cobra.Command, c *client.Client, name images.Name) (removed, error) {
	did := removed{Name: nameOf(name), Kind: "repository", Digest: name.Digest, DryRun: f.dryRun}
	r, err := c.Repository(name.Repository)
	if err != nil {
		return did, err
	}
	ctx := cmd.Context()
	switch {
	case name.Tag != "":
		did.Kind = "tag"
	case name.Digest != "":
		did.Kind = "manifest"
	case f.dryRun:
		for _, err := range r.Tags(ctx) {
			if err != nil {
				return did, err
			}
			did.Tags++
		}
		return did, nil
	default:
		err = f.removeRepository(cmd, r, &did)
		return did, err
	}
	if f.dryRun {
		desc, err := r.Resolve(ctx, name.Reference())
		did.Digest = desc.Digest
		return did, err
	}
	err = r.DeleteManifest(ctx, name.Reference())
	if did.Kind == "tag" && err != nil {
		err = tagAdvice(ctx, r, name, err)
	}
	return did, err
}

// nameOf returns the name as it is in the results: that of a repository has no tag.
func nameOf(name images.Name) string {
	if name.Tag == "" && name.Digest == "" {
		return name.Host + "/" + name.Repository
	}
	return name.String()
}

// removeRepository deletes a repository and shows how many manifests are deleted.
func (f *removal) removeRepository(cmd *cobra.Command, r *client.Repository, result *removed) error {
	progress := cmd.ErrOrStderr()
	if f.quiet {
		progress = io.Discard
	}
	show, end := newCounter(progress, "manifests deleted")
	did, err := r.Delete(cmd.Context(), func(did client.Deleted) { show(did.Manifests) })
	end()
	result.Manifests, result.Tags = did.Manifests, did.Tags
	if did.Partial {
		result.Left = "images without a tag: this registry does not list them"
	}
	if err != nil && did.Manifests > 0 {
		return fmt.Errorf("%w: %d manifests are deleted; repeat the command to delete the others", err, did.Manifests)
	}
	return err
}

// tagAdvice adds advice to the error of a registry that deletes manifests by their digest only.
func tagAdvice(ctx context.Context, r *client.Repository, name images.Name, err error) error {
	answer, ok := errors.AsType[*client.Error](err)
	if !ok || answer.Status == http.StatusUnauthorized || answer.Status == http.StatusForbidden || answer.Status >= 500 && answer.Status != http.StatusNotImplemented {
		return err
	}
	desc, resolveErr := r.Resolve(ctx, name.Reference())
	if resolveErr != nil {
		return err
	}
	return fmt.Errorf("%w: this registry cannot delete a tag alone; 'pierless rm %s/%s@%s' deletes the image with all of its tags",
		err, name.Host, name.Repository, desc.Digest)
}

// write writes the result as a line.
func (r removed) write(w io.Writer) error {
	verb := "deleted"
	if r.DryRun {
		verb = "would delete"
	}
	line := fmt.Sprintf("%s the %s %s", verb, r.Kind, r.Name)
	switch {
	case r.Kind == "manifest":
		line += " and its tags"
	case r.Kind == "tag" && r.Digest != "":
		line += ", which is " + string(r.Digest)
	case r.Kind == "repository" && r.DryRun:
		line += fmt.Sprintf(" with %d tags", r.Tags)
	case r.Kind == "repository":
		line += fmt.Sprintf(" (manifests: %d, tags: %d)", r.Manifests, r.Tags)
	}
	if r.Left != "" {
		line += "; left: " + r.Left
	}
	_, err := fmt.Fprintln(w, client.Printable(line))
	return err
}
