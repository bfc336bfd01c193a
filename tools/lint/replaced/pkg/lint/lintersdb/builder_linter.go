// Package lintersdb replaces golangci-lint's list of linters: scripts/gobin.sh compiles this
// file in place of the one with the same path in golangci-lint's module. The original names
// about 150 linters, and compiling them took most of a first "make check". golangci-lint
// rejects a configuration that enables a linter missing here: add it to this list, too.
package lintersdb

import (
	"github.com/golangci/golangci-lint/v2/pkg/config"
	"github.com/golangci/golangci-lint/v2/pkg/golinters"
	"github.com/golangci/golangci-lint/v2/pkg/golinters/depguard"
	"github.com/golangci/golangci-lint/v2/pkg/golinters/errcheck"
	"github.com/golangci/golangci-lint/v2/pkg/golinters/errorlint"
	"github.com/golangci/golangci-lint/v2/pkg/golinters/exhaustive"
	"github.com/golangci/golangci-lint/v2/pkg/golinters/gochecknoinits"
	"github.com/golangci/golangci-lint/v2/pkg/golinters/gofumpt"
	"github.com/golangci/golangci-lint/v2/pkg/golinters/govet"
	"github.com/golangci/golangci-lint/v2/pkg/golinters/ineffassign"
	"github.com/golangci/golangci-lint/v2/pkg/golinters/misspell"
	"github.com/golangci/golangci-lint/v2/pkg/golinters/nolintlint"
	"github.com/golangci/golangci-lint/v2/pkg/golinters/revive"
	"github.com/golangci/golangci-lint/v2/pkg/golinters/staticcheck"
	"github.com/golangci/golangci-lint/v2/pkg/golinters/unparam"
	"github.com/golangci/golangci-lint/v2/pkg/golinters/unused"
	"github.com/golangci/golangci-lint/v2/pkg/lint/linter"
)

// LinterBuilder makes the linters of a configuration.
type LinterBuilder struct{}

// NewLinterBuilder returns a LinterBuilder.
func NewLinterBuilder() *LinterBuilder { return &LinterBuilder{} }

// Build returns every linter, with its settings from cfg. Those that need types are marked
// so; the others see the syntax only.
func (LinterBuilder) Build(cfg *config.Config) ([]*linter.Config, error) {
	if cfg == nil {
		return nil, nil
	}
	s := &cfg.Linters.Settings
	return []*linter.Config{
		linter.NewConfig(depguard.New(&s.Depguard, config.NewPlaceholderReplacer(cfg))),
		linter.NewConfig(errcheck.New(&s.Errcheck)).WithLoadForGoAnalysis(),
		linter.NewConfig(errorlint.New(&s.ErrorLint)).WithLoadForGoAnalysis(),
		linter.NewConfig(exhaustive.New(&s.Exhaustive)).WithLoadForGoAnalysis(),
		linter.NewConfig(gochecknoinits.New()),
		linter.NewConfig(gofumpt.New(&s.GoFumpt)),
		linter.NewConfig(govet.New(&s.Govet)).WithLoadForGoAnalysis(),
		linter.NewConfig(ineffassign.New(&s.Ineffassign)),
		linter.NewConfig(misspell.New(&s.Misspell)),
		linter.NewConfig(nolintlint.New(&s.NoLintLint)),
		linter.NewConfig(revive.New(&s.Revive)).ConsiderSlow(),
		linter.NewConfig(staticcheck.New(&s.Staticcheck)).WithLoadForGoAnalysis(),
		linter.NewConfig(unparam.New(&s.Unparam)).WithLoadForGoAnalysis(),
		linter.NewConfig(golinters.NewTypecheck()).WithInternal(),
		linter.NewConfig(unused.New(&s.Unused)).WithLoadForGoAnalysis().ConsiderSlow().WithChangeTypes(),
	}, nil
}
