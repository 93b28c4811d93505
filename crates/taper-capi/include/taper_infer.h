/* Compiled inference of sparse convolutional networks.
 *
 * A network is opened from an ONNX file for a largest batch and a number of threads, and then run any number of times.
 * Values are 32-bit floats; images lie one after the other, each as [channels, rows, columns].
 *
 * Functions that fail say so by their result, and taper_last_error() says why. */
#ifndef TAPER_INFER_H
#define TAPER_INFER_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A compiled network. Several threads may use one; their runs take turns. */
typedef struct taper_network taper_network;

/* Reads the ONNX file at `path`, a text in UTF-8, and compiles it for up to `batch` images a run, 1 to 65536, on `threads`
 * threads, 1 to 1024. NULL if that fails, or the system starts fewer threads. taper_close() frees it. Memory is taken here, for half of a batch with two threads
 * and for more of it with more; a process that has not so much ends. After fork(), a child opens networks of its own. */
taper_network *taper_open(const char *path, size_t batch, size_t threads);

/* Like taper_open(), of a file that leaves something open. `size` is NULL or channels, rows and columns of an image, three
 * numbers, where the file does not fix them; `output` is NULL or the name of the output to compute, of several, a text in
 * UTF-8. Both are read during the call alone. */
taper_network *taper_open_with(const char *path, size_t batch, size_t threads, const size_t *size, const char *output);

/* Floats of an image and of the results for one; 0 if `network` is NULL. */
size_t taper_input_len(const taper_network *network);
size_t taper_output_len(const taper_network *network);

/* Number of dimensions of an image and of the results for one, of which the first `capacity` go to `dims`. 0 if `network` is
 * NULL, or `dims` is and `capacity` is not 0. */
size_t taper_input_dims(const taper_network *network, size_t *dims, size_t capacity);
size_t taper_output_dims(const taper_network *network, size_t *dims, size_t capacity);

/* Computes the results for `n_images` images, 1 to the batch of taper_open(). `images` has n_images * taper_input_len()
 * floats, `results` has room for n_images * taper_output_len(); they do not overlap. 0 if it succeeds, -1 if not. */
int taper_run(const taper_network *network, const float *images, size_t n_images, float *results);

/* Frees a network, which nothing may use any more. NULL is allowed. */
void taper_close(taper_network *network);

/* Why the last call of this thread that failed did so; empty if none has. The text lasts until the next one that fails. */
const char *taper_last_error(void);

#ifdef __cplusplus
}
#endif

#endif
