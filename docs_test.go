package pierless

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/pierless/pierless/pkg/access"
)

// example is a code block of a document.
var example = regexp.MustCompile("(?ms)^```(yaml|json)\n(.*?)^```$")

// TestExamplesAreValid reads the YAML and JSON of all documents. The registry must accept login
// rules as they stand there.
func TestExamplesAreValid(t *testing.T) {
	files, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	examples, rules := 0, 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range example.FindAllSubmatch(text, -1) {
			examples++
			check := checkYAML
			if string(block[1]) == "json" {
				check = checkJSON
			}
			if err := check(block[2]); err != nil {
				t.Errorf("%s: %v in\n%s", file, err, block[2])
			}
			if strings.Contains(string(block[2]), `"logins"`) {
				rules++
				if err := checkRules(block[2]); err != nil {
					t.Errorf("%s: %v in\n%s", file, err, block[2])
				}
			}
		}
	}
	if examples < 10 || rules < 2 {
		t.Errorf("%d examples, %d with rules: some were not found", examples, rules)
	}
}

// checkYAML also refuses keys that a mapping has twice.
func checkYAML(text []byte) error {
	for d := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var document any
		if err := d.Decode(&document); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func checkJSON(text []byte) error {
	var document any
	return json.Unmarshal(text, &document)
}

func checkRules(text []byte) error {
	var settings access.Settings
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&settings); err != nil {
		return err
	}
	return settings.Check()
}
