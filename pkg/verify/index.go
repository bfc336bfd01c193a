package verify

import "maps"

// functions returns the function of each case in cases.txt.
func functions() map[string]func(*T) {
	all := shortCases()
	maps.Copy(all, longCases())
	return all
}

// longCases returns the cases that are functions, by file.
func longCases() map[string]func(*T) {
	return map[string]func(*T){
		// pull.go
		"manifest-get-content-type":       manifestGetContentType,
		"manifest-get-missing-repository": manifestGetMissingRepository,
		"manifest-repositories-apart":     manifestRepositoriesApart, "blob-head-length": blobHeadLength,
		"blob-repositories-apart": blobRepositoriesApart, "blob-empty": blobEmpty, "blob-sha512": blobSHA512,
		"manifest-sha512": manifestSHA512,

		// ranges.go
		"range-unsatisfiable": rangeUnsatisfiable, "range-malformed": rangeMalformed,
		"range-content-range": rangeContentRange,

		// uploads.go
		"upload-start": uploadStart, "upload-start-location": uploadStartLocation,
		"upload-location-usable": uploadLocationUsable, "upload-location-sorted": uploadLocationSorted,
		"upload-location-same-host": uploadLocationSameHost, "upload-unknown-patch": uploadUnknownPatch,
		"upload-unknown-put": uploadUnknownPut, "upload-unknown-delete": uploadUnknownDelete,
		"upload-unknown-code": uploadUnknownCode, "upload-of-one-repository": uploadOfOneRepository,
		"upload-unfinished-invisible": uploadUnfinishedInvisible, "upload-complete-again": uploadCompleteAgain,
		"upload-complete-ended": uploadCompleteEnded, "upload-complete-other-content": uploadCompleteOtherContent,
		"upload-cancel": uploadCancel, "upload-cancel-gone": uploadCancelGone,
		"upload-cancel-invisible": uploadCancelInvisible,

		// push.go
		"blob-put-visible": blobPutVisible, "blob-put-visible-after-miss": blobPutVisibleAfterMiss,
		"blob-put-again": blobPutAgain, "blob-put-two-repositories": blobPutTwoRepositories,
		"blob-put-sizes": blobPutSizes, "blob-put-cut": blobPutCut, "blob-put-stream": blobPutStream,
		"blob-put-range": blobPutRange, "blob-put-sha512-unannounced": blobPutSHA512Unannounced,
		"blob-digest-mismatch": blobDigestMismatch, "blob-digest-mismatch-code": blobDigestMismatchCode,
		"blob-digest-mismatch-own": blobDigestMismatchOwn, "blob-digest-malformed": blobDigestMalformed,
		"blob-digest-unsupported": blobDigestUnsupported, "blob-digest-missing": blobDigestMissing,
		"upload-algorithm-unsupported": uploadAlgorithmUnsupported,

		// singlepost.go
		"blob-post-or-session": blobPostOrSession, "blob-post": blobPost, "blob-post-mismatch": blobPostMismatch,
		"blob-post-digest-status": blobPostDigestStatus, "blob-post-cut": blobPostCut,

		// mounts.go
		"mount": mount, "mount-pull": mountPull, "mount-chain": mountChain, "mount-again": mountAgain,
		"mount-missing": mountMissing, "mount-missing-session": mountMissingSession,
		"mount-missing-invisible": mountMissingInvisible, "mount-unknown-repository": mountUnknownRepository,
		"mount-without-from": mountWithoutFrom, "mount-without-from-session": mountWithoutFromSession,
		"mount-digest-invalid": mountDigestInvalid,

		// chunks.go
		"chunk-patch": chunkPatch, "chunk-patch-location": chunkPatchLocation, "chunk-patch-range": chunkPatchRange,
		"chunk-complete": chunkComplete, "chunk-final-one-byte": chunkFinalOneByte, "chunk-status": chunkStatus,
		"chunk-status-location": chunkStatusLocation, "chunk-status-range": chunkStatusRange,
		"chunk-status-old-location": chunkStatusOldLocation, "chunk-min-length": chunkMinLength,
		"chunk-min-length-kept": chunkMinLengthKept, "chunk-one-byte-blob": chunkOneByteBlob, "chunk-large": chunkLarge,

		// streams.go
		"chunk-stream": chunkStream, "chunk-stream-several": chunkStreamSeveral, "chunk-no-range": chunkNoRange,
		"chunk-no-range-several": chunkNoRangeSeveral, "chunk-stray-digest": chunkStrayDigest,
		"chunk-empty": chunkEmpty, "chunk-interleaved": chunkInterleaved, "upload-sha512-chunks": uploadSHA512Chunks,
		"upload-sha512-unannounced": uploadSHA512Unannounced, "upload-sha512-mismatch": uploadSHA512Mismatch,

		// chunkorder.go
		"chunk-gap": chunkGap, "chunk-repeat": chunkRepeat, "chunk-overlap": chunkOverlap,
		"chunk-out-of-order-status": chunkOutOfOrderStatus, "chunk-out-of-order-unharmed": chunkOutOfOrderUnharmed,
		"chunk-resume": chunkResume, "chunk-repeat-other-bytes": chunkRepeatOtherBytes,
		"chunk-put-out-of-order": chunkPutOutOfOrder, "chunk-put-out-of-order-unharmed": chunkPutOutOfOrderUnharmed,
		"chunk-length-mismatch": chunkLengthMismatch, "chunk-length-mismatch-unharmed": chunkLengthMismatchUnharmed,
		"chunk-range-malformed": chunkRangeMalformed, "chunk-digest-mismatch": chunkDigestMismatch,
		"chunk-cut": chunkCut, "chunk-cut-durable": chunkCutDurable,

		// manifests.go
		"manifest-put-by-tag": manifestPutByTag, "manifest-put-by-digest": manifestPutByDigest,
		"manifest-put-location": manifestPutLocation, "manifest-put-digest-header": manifestPutDigestHeader,
		"manifest-found-at-once": manifestFoundAtOnce, "manifest-tag-moves": manifestTagMoves,
		"manifest-untagged": manifestUntagged, "manifest-put-again": manifestPutAgain,
		"manifest-many-tags": manifestManyTags, "manifest-type-parameters": manifestTypeParameters,
		"manifest-without-media-type":   manifestWithoutMediaType,
		"manifest-without-content-type": manifestWithoutContentType, "manifest-4mb": manifest4MB,
		"manifest-too-large": manifestTooLarge, "manifest-bytes-whitespace": manifestBytesWhitespace,
		"manifest-bytes-key-order": manifestBytesKeyOrder, "manifest-bytes-fields": manifestBytesFields,

		// manifestkinds.go
		"manifest-kind-docker": manifestKindDocker, "manifest-kind-docker-list": manifestKindDockerList,
		"manifest-kind-index": manifestKindIndex, "manifest-kind-nested-index": manifestKindNestedIndex,
		"manifest-kind-custom-config":  manifestKindCustomConfig,
		"manifest-kind-repeated-layer": manifestKindRepeatedLayer,
		"manifest-kind-foreign-layer":  manifestKindForeignLayer, "manifest-kind-data": manifestKindData,
		"manifest-kind-unknown": manifestKindUnknown,

		// manifestfaults.go
		"manifest-digest-mismatch":        manifestDigestMismatch,
		"manifest-digest-mismatch-status": manifestDigestMismatchStatus,
		"manifest-digest-malformed":       manifestDigestMalformed, "manifest-missing-blob": manifestMissingBlob,
		"manifest-missing-child": manifestMissingChild, "manifest-missing-all": manifestMissingAll,
		"manifest-refused-not-stored": manifestRefusedNotStored, "manifest-blob-elsewhere": manifestBlobElsewhere,
		"manifest-not-json": manifestNotJSON, "manifest-empty-body": manifestEmptyBody,
		"manifest-invalid-code": manifestInvalidCode, "manifest-type-contradicts": manifestTypeContradicts,
		"manifest-descriptor-malformed": manifestDescriptorMalformed,
		"manifest-config-size-differs":  manifestConfigSizeDiffers,
		"manifest-layer-size-differs":   manifestLayerSizeDiffers,

		// manifestnames.go
		"manifest-tag-malformed": manifestTagMalformed, "manifest-tag-like-digest": manifestTagLikeDigest,
		"manifest-name-longest": manifestNameLongest, "manifest-name-like-route": manifestNameLikeRoute,

		// manifesttags.go
		"manifest-push-tags": manifestPushTags, "manifest-push-tags-header": manifestPushTagsHeader,
		"manifest-push-tags-ten": manifestPushTagsTen, "manifest-push-tags-many": manifestPushTagsMany,
		"manifest-push-tags-malformed": manifestPushTagsMalformed, "manifest-push-tags-sha512": manifestPushTagsSHA512,

		// tags.go
		"tags-list": tagsList, "tags-form": tagsForm, "tags-content-type": tagsContentType, "tags-order": tagsOrder,
		"tags-at-once": tagsAtOnce, "tags-only-tags": tagsOnlyTags, "tags-repositories-apart": tagsRepositoriesApart,
		"tags-none": tagsNone, "tags-missing-repository": tagsMissingRepository, "tags-after-delete": tagsAfterDelete,
		"tags-many": tagsMany,

		// tagpages.go
		"tags-n": tagsN, "tags-n-large": tagsNLarge, "tags-n-zero": tagsNZero, "tags-n-invalid": tagsNInvalid,
		"tags-last": tagsLast, "tags-last-without-n": tagsLastWithoutN, "tags-last-missing": tagsLastMissing,
		"tags-last-end": tagsLastEnd, "tags-pages-by-last": tagsPagesByLast, "tags-pages-by-link": tagsPagesByLink,
		"tags-link-form": tagsLinkForm, "tags-link-more": tagsLinkMore,

		// subjects.go
		"manifest-subject-missing": manifestSubjectMissing, "manifest-subject-header": manifestSubjectHeader,
		"manifest-subject-header-index": manifestSubjectHeaderIndex,

		// referrers.go
		"referrers-api": referrersAPI, "referrers-empty": referrersEmpty,
		"referrers-content-type": referrersContentType, "referrers-form": referrersForm,
		"referrers-image": referrersImage, "referrers-index": referrersIndex, "referrers-by-tag": referrersByTag,
		"referrers-artifact-type": referrersArtifactType, "referrers-artifact-type-config": referrersArtifactTypeConfig,
		"referrers-artifact-type-omitted": referrersArtifactTypeOmitted, "referrers-annotations": referrersAnnotations,
		"referrers-before-subject": referrersBeforeSubject, "referrers-at-once": referrersAtOnce,
		"referrers-of-referrers": referrersOfReferrers, "referrers-once": referrersOnce,
		"referrers-repositories-apart": referrersRepositoriesApart, "referrers-after-delete": referrersAfterDelete,
		"referrers-sha512": referrersSHA512, "referrers-invalid-digest": referrersInvalidDigest,

		// referrerpages.go
		"referrers-pages": referrersPages, "referrers-filter": referrersFilter,
		"referrers-filter-header": referrersFilterHeader, "referrers-filter-none": referrersFilterNone,
		"referrers-filter-exact": referrersFilterExact, "referrers-filter-config": referrersFilterConfig,
		"referrers-filter-pages": referrersFilterPages,

		// management.go
		"delete-tag": deleteTag, "delete-tag-keeps-others": deleteTagKeepsOthers, "delete-tag-last": deleteTagLast,
		"delete-tag-missing": deleteTagMissing, "delete-tag-then-push": deleteTagThenPush,
		"delete-manifest": deleteManifest, "delete-manifest-tags": deleteManifestTags,
		"delete-manifest-tags-list": deleteManifestTagsList, "delete-manifest-moved-tag": deleteManifestMovedTag,
		"delete-manifest-keeps-others":       deleteManifestKeepsOthers,
		"delete-manifest-repositories-apart": deleteManifestRepositoriesApart,
		"delete-manifest-missing":            deleteManifestMissing, "delete-missing-repository": deleteMissingRepository,
		"delete-manifest-then-push": deleteManifestThenPush, "delete-index-child": deleteIndexChild,
		"delete-index-keeps-children":   deleteIndexKeepsChildren,
		"delete-referrer-keeps-subject": deleteReferrerKeepsSubject,

		// blobdeletion.go
		"delete-blob": deleteBlob, "delete-blob-missing": deleteBlobMissing,
		"delete-blob-then-push": deleteBlobThenPush, "delete-source-keeps-mount": deleteSourceKeepsMount,
		"delete-blob-in-use": deleteBlobInUse,

		// clients_sequences.go
		"client-docker-push": clientDockerPush, "client-docker-pull": clientDockerPull,
		"client-docker-mount": clientDockerMount, "client-podman-push": clientPodmanPush,
		"client-podman-pull": clientPodmanPull, "client-crane-push": clientCranePush,
		"client-crane-pull": clientCranePull, "client-containerd-push": clientContainerdPush,
		"client-containerd-pull": clientContainerdPull, "client-oras-push": clientOrasPush,
		"client-oras-pull": clientOrasPull, "client-regctl-push": clientRegctlPush,
		"client-regctl-chunks": clientRegctlChunks, "client-push-again": clientPushAgain,

		// clients_uploads.go
		"client-stream-range": clientStreamRange, "client-empty-patch": clientEmptyPatch,
		"client-content-range-unit": clientContentRangeUnit, "client-patch-digest-ignored": clientPatchDigestIgnored,
		"client-blob-put-headers": clientBlobPutHeaders, "client-manifest-put-status": clientManifestPutStatus,
		"client-mount-without-from": clientMountWithoutFrom, "client-post-json": clientPostJSON,
		"client-location-own-host": clientLocationOwnHost, "client-upload-no-redirect": clientUploadNoRedirect,
		"client-chunk-resume": clientChunkResume, "client-parallel-layers": clientParallelLayers,
		"client-two-uploads": clientTwoUploads, "client-mixed-uploads": clientMixedUploads,
		"client-unknown-query": clientUnknownQuery, "client-ns": clientNS,
		"client-expect-continue": clientExpectContinue, "client-refused-body": clientRefusedBody,

		// clients_reads.go
		"client-accept-lines": clientAcceptLines, "client-accept-any": clientAcceptAny,
		"client-accept-none": clientAcceptNone, "client-accept-other": clientAcceptOther,
		"client-index-stays": clientIndexStays, "client-head-agrees": clientHeadAgrees,
		"client-redirect-place": clientRedirectPlace, "client-error-json": clientErrorJSON,
		"client-missing-code": clientMissingCode, "client-if-none-match": clientIfNoneMatch,
		"client-parallel-pulls": clientParallelPulls, "client-warnings": clientWarnings,

		// clients_auth.go
		"client-auth-ping": clientAuthPing, "client-auth-reads": clientAuthReads,
		"client-auth-writes": clientAuthWrites, "client-auth-wrong": clientAuthWrong,
		"client-auth-push": clientAuthPush, "client-auth-open": clientAuthOpen, "client-auth-error": clientAuthError,

		// hostile_paths.go
		"hostile-path-dots": hostilePathDots, "hostile-path-escape": hostilePathEscape,
		"hostile-path-bytes": hostilePathBytes, "hostile-path-long": hostilePathLong,
		"hostile-name-illegal": hostileNameIllegal, "hostile-name-reserved": hostileNameReserved,
		"hostile-name-separators": hostileNameSeparators, "hostile-tag-illegal": hostileTagIllegal,
		"hostile-digest-illegal": hostileDigestIllegal, "hostile-digest-case": hostileDigestCase,
		"hostile-route-unknown": hostileRouteUnknown, "hostile-method-unknown": hostileMethodUnknown,
		"hostile-method-allow": hostileMethodAllow, "hostile-method-override": hostileMethodOverride,

		// hostile_uploads.go
		"hostile-session-guessed": hostileSessionGuessed, "hostile-session-elsewhere": hostileSessionElsewhere,
		"hostile-digest-twice": hostileDigestTwice, "hostile-mount-names": hostileMountNames,
		"hostile-content-range": hostileContentRange, "hostile-content-range-refused": hostileContentRangeRefused,
		"hostile-blob-cut": hostileBlobCut, "hostile-manifest-cut": hostileManifestCut,

		// hostile_manifests.go
		"hostile-manifest-bombs": hostileManifestBombs, "hostile-manifest-shapes": hostileManifestShapes,
		"hostile-manifest-no-object": hostileManifestNoObject, "hostile-manifest-sizes": hostileManifestSizes,
		"hostile-manifest-bytes": hostileManifestBytes, "hostile-media-type": hostileMediaType,

		// hostile_headers.go
		"hostile-ranges-many": hostileRangesMany, "hostile-ranges-amplified": hostileRangesAmplified,
		"hostile-header-injection": hostileHeaderInjection, "hostile-forwarded-host": hostileForwardedHost,
		"hostile-authorization": hostileAuthorization, "hostile-page-size": hostilePageSize,
		"hostile-filter": hostileFilter,

		// hostile_errors.go
		"hostile-error-format": hostileErrorFormat, "hostile-error-codes": hostileErrorCodes,
		"hostile-error-leaks": hostileErrorLeaks,

		// races_push.go
		"race-one-tag": raceOneTag, "race-many-tags": raceManyTags,
		"race-one-manifest-many-tags": raceOneManifestManyTags, "race-one-blob": raceOneBlob,
		"race-one-blob-many-repositories": raceOneBlobManyRepositories, "race-shared-base": raceSharedBase,
		"race-mounts": raceMounts, "race-referrers": raceReferrers,

		// races_upload.go
		"race-uploads-apart": raceUploadsApart, "race-chunk-same": raceChunkSame,
		"race-chunk-different": raceChunkDifferent, "race-chunk-losers": raceChunkLosers,
		"race-upload-put": raceUploadPut, "race-upload-put-losers": raceUploadPutLosers,
		"race-cancel-put": raceCancelPut, "race-cancel-chunk": raceCancelChunk,
		"race-upload-readers": raceUploadReaders,

		// races_delete.go
		"race-delete-moved-tags": raceDeleteMovedTags, "race-delete-manifest-list": raceDeleteManifestList,
		"race-delete-no-fault": raceDeleteNoFault, "race-delete-manifest-again": raceDeleteManifestAgain,
		"race-delete-tag-push": raceDeleteTagPush, "race-delete-blob-push": raceDeleteBlobPush,
		"race-delete-blob-mount": raceDeleteBlobMount, "race-delete-blob-elsewhere": raceDeleteBlobElsewhere,

		// races_fresh.go
		"race-fresh-tag": raceFreshTag, "race-fresh-manifest": raceFreshManifest, "race-fresh-blob": raceFreshBlob,
		"race-fresh-tag-list": raceFreshTagList, "race-fresh-referrers": raceFreshReferrers,
		"race-fresh-delete": raceFreshDelete, "race-fresh-delete-tag": raceFreshDeleteTag,
		"race-fresh-delete-blob": raceFreshDeleteBlob,

		// races_read.go
		"race-pull-undisturbed": racePullUndisturbed, "race-tag-readers": raceTagReaders,
		"race-manifest-readers": raceManifestReaders, "race-tag-list-readers": raceTagListReaders,
		"race-tag-list-pages": raceTagListPages, "race-referrers-readers": raceReferrersReaders,
	}
}
