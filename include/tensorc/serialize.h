/*
 * Files: graphs, checkpoints, saved models. The formats are protobuf, documented in
 * docs/formats.md.
 *
 * Writers write to a temporary file beside the target, flush it to the disk (the folder too) and
 * rename it: a reader, and whoever comes after a crash or a full disk, sees the old file or the
 * whole new one. Loaders treat their input as hostile; their errors name file, field and offset,
 * and nothing partially loaded stays behind.
 */
#ifndef TENSORC_SERIALIZE_H
#define TENSORC_SERIALIZE_H

#include <tensorc/session.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Graphs
 */
/** Writes `graph` with functions, constants and annotations. Fails with the graph's own error when
 * it has one. */
TC_MUST_USE TC_API tc_status tc_graph_save(const tc_graph *graph, const char *path);
/**
 * Reads a graph; `registry` NULL is the library's. Errors: NOT_FOUND, PERMISSION_DENIED, DATA_LOSS
 * (damaged or no libtensorc file), UNIMPLEMENTED (an unknown operator or a newer version of one, by
 * name).
 */
TC_MUST_USE TC_API tc_status tc_graph_load(const char *path, tc_registry *registry, tc_graph **out);

/*
 * Checkpoints: everything a resumed run needs.
 */
/** A named piece of caller data kept in a checkpoint, such as the position of an input pipeline. */
typedef struct tc_blob {
    const char *name;
    const void *data;
    size_t size;
} tc_blob;

typedef struct tc_checkpoint_options {
    size_t struct_size;
    int32_t keep; /**< newest checkpoints kept in the folder, older ones are deleted; 0: 3,
                     negative: all */
    const tc_blob *blobs;
    size_t n_blobs;
} tc_checkpoint_options;

/**
 * Writes all variables of the session's store, the step and the blobs to
 * "<folder>/checkpoint-<step>.tcc", making the folder when it is missing. `path`, when not NULL,
 * receives the file's name. Training may go on from another thread; its commits wait. Errors:
 * RESOURCE_EXHAUSTED (disk full), PERMISSION_DENIED, ...; older checkpoints stay intact.
 */
TC_MUST_USE TC_API tc_status tc_checkpoint_save(tc_session *session, const char *folder,
                                                const tc_checkpoint_options *options, char *path,
                                                size_t path_size);

/** Path of the complete checkpoint in `folder` that was saved last. Errors: NOT_FOUND. Skips
 * damaged files. */
TC_MUST_USE TC_API tc_status tc_checkpoint_latest(const char *folder, char *path, size_t path_size);

typedef struct tc_restore_options {
    size_t struct_size;
    bool partial; /**< take what matches instead of failing on missing or differing variables */
    /** Only variables whose names begin so; the step stays as it is. NULL: all. */
    const char *prefix;
    char *report; /**< receives a text: what matched, is missing, is unexpected, differs */
    size_t report_size;
} tc_restore_options;

/**
 * Restores the session's variables and step from file `path`. All or, on any error, none. Variables
 * of the file that the session lacks, such as slots of an optimizer, are reported but no error.
 * Errors: NOT_FOUND, DATA_LOSS, FAILED_PRECONDITION (variables differ or none matches; the message
 * names the first ones). `options` may be NULL.
 */
TC_MUST_USE TC_API tc_status tc_checkpoint_restore(tc_session *session, const char *path,
                                                   const tc_restore_options *options);

/** Copies the blob `name` of checkpoint `path` into memory that the caller frees with tc_blob_free.
 */
TC_MUST_USE TC_API tc_status tc_checkpoint_read_blob(const char *path, const char *name,
                                                     void **data, size_t *size);
TC_API void tc_blob_free(void *data);

/*
 * Saved models: the part of a graph that its signatures need, with its variables.
 */
typedef struct tc_signature_port {
    const char *name;
    tc_value value;
} tc_signature_port;

/** A named way to call a model: placeholders to feed, values to fetch. */
typedef struct tc_signature {
    const char *name;
    const tc_signature_port *inputs;
    size_t n_inputs;
    const tc_signature_port *outputs;
    size_t n_outputs;
} tc_signature;

typedef struct tc_saved_model tc_saved_model;

/**
 * Writes graph, variables and signatures to one file. Only nodes and variables that the signatures
 * need are kept. Errors: INVALID_ARGUMENT (no or doubled signature, an output that depends on an
 * unlisted placeholder), as a writer.
 */
TC_MUST_USE TC_API tc_status tc_saved_model_save(tc_session *session, const char *path,
                                                 const tc_signature *signatures,
                                                 size_t n_signatures);
/** Loads a model; `registry` NULL is the library's. The caller owns one reference. */
TC_MUST_USE TC_API tc_status tc_saved_model_load(const char *path, tc_registry *registry,
                                                 tc_saved_model **out);
TC_API tc_saved_model *tc_saved_model_retain(tc_saved_model *model);
TC_API void tc_saved_model_release(tc_saved_model *model);
/** Borrowed from the model. */
TC_API tc_graph *tc_saved_model_graph(tc_saved_model *model);
TC_API size_t tc_saved_model_signature_count(const tc_saved_model *model);
/** Signature `index`, borrowed; values belong to tc_saved_model_graph. NULL when out of range. */
TC_API const tc_signature *tc_saved_model_signature(const tc_saved_model *model, size_t index);
/** Signature of that name, NULL when there is none. */
TC_API const tc_signature *tc_saved_model_find(const tc_saved_model *model, const char *name);
/**
 * A session on the model's graph with its variables restored into the session's store (a new one
 * unless `options` names one; sessions that share a store share the variables). Thread-safe.
 */
TC_MUST_USE TC_API tc_status tc_saved_model_session(tc_saved_model *model,
                                                    const tc_session_options *options,
                                                    tc_session **out);

/** Kind of a libtensorc file: "graph", "checkpoint", "saved model". Errors: NOT_FOUND, DATA_LOSS.
 */
TC_MUST_USE TC_API tc_status tc_file_kind(const char *path, const char **kind);

/** Prints what a libtensorc file holds: nodes, variables, shapes, sizes, signatures. Errors as
 * loaders. */
TC_MUST_USE TC_API tc_status tc_file_inspect(const char *path, FILE *file);

#ifdef __cplusplus
}
#endif

#endif
