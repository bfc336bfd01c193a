package s3blobs

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// TestMadeOf: the object's ETag is the MD5 of the parts' MD5s, and their number.
func TestMadeOf(t *testing.T) {
	const empty = `"d41d8cd98f00b204e9800998ecf8427e"`
	two := []types.CompletedPart{{ETag: aws.String(empty)}, {ETag: aws.String(empty)}}
	const right = `"5873dd45edd01f09c1ef2e7819369e8e-2"`
	for name, tt := range map[string]struct {
		parts      []types.CompletedPart
		etag       string
		encryption types.ServerSideEncryption
		want       bool
	}{
		"these parts":      {two, right, "", true},
		"AES256":           {two, right, types.ServerSideEncryptionAes256, true},
		"other parts":      {two, `"00000000000000000000000000000000-2"`, "", false},
		"another number":   {two[:1], right, "", false},
		"no ETag":          {two, "", "", false},
		"part without MD5": {[]types.CompletedPart{{ETag: aws.String(`"x"`)}}, right, "", false},
		"encrypted by KMS": {two, `"anything-2"`, types.ServerSideEncryptionAwsKms, true},
		"doubly so":        {two, `"anything-2"`, types.ServerSideEncryptionAwsKmsDsse, true},
	} {
		t.Run(name, func(t *testing.T) {
			out := &s3.CompleteMultipartUploadOutput{ETag: aws.String(tt.etag), ServerSideEncryption: tt.encryption}
			if got := madeOf(tt.parts, out); got != tt.want {
				t.Errorf("got %t, want %t", got, tt.want)
			}
		})
	}
}
