/* A fake V4L2 driver, preloaded into the process that test_v4l2.py starts, since test machines have no camera.
 * open("/dev/video7") returns a memory file, and ioctl() on it behaves like a driver, with the kernel's own header;
 * mmap() and poll() are the real ones. FAKE_CAMERA selects the behavior with a list of words: multi busy unplugged
 * damaged nv12 yuyv mjpg. Frame n is filled with bytes n, n + 1, ... modulo 251, or, for mjpg, with the file FAKE_JPEG.
 * Lines have FAKE_PADDING extra bytes, and a plane of a multi-planar camera starts with FAKE_OFFSET unused bytes.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define FRAMES 4
static int camera = -1;
static unsigned width = 64, height = 32, line, size, queued[FRAMES], first, count, taken;
static char *memory;

static int is(const char *word) { const char *all = getenv("FAKE_CAMERA"); return all && strstr(all, word); }
static unsigned number(const char *name) { const char *text = getenv(name); return text ? atoi(text) : 0; }
static unsigned fourcc(void)
{
    return is("mjpg") ? V4L2_PIX_FMT_MJPEG : is("yuyv") ? V4L2_PIX_FMT_YUYV : V4L2_PIX_FMT_NV12;
}
static int fail(int code) { errno = code; return -1; }

static int open_camera(const char *path)
{
    if (strcmp(path, "/dev/video7"))
        return -1;
    return camera = memfd_create("camera", 0);
}

int open(const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    int mode = va_arg(more, int), fd = open_camera(path);
    va_end(more);
    if (fd >= 0)
        return fd;
    return ((int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open"))(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    int mode = va_arg(more, int), fd = open_camera(path);
    va_end(more);
    if (fd >= 0)
        return fd;
    return ((int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open64"))(path, flags, mode);
}

static int set_format(struct v4l2_format *format)
{
    struct v4l2_pix_format *pix = &format->fmt.pix;
    struct v4l2_pix_format_mplane *multi = &format->fmt.pix_mp;
    if (is("multi") != (format->type == V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE))
        return fail(EINVAL);
    width = pix->width / 8 * 8; /* like rkisp: a multiple of 8; the first fields of pix_mp are the same */
    height = pix->height;
    line = (is("yuyv") ? width * 2 : width) + number("FAKE_PADDING");
    size = is("nv12") ? line * height * 3 / 2 : line * height;
    pix->width = width;
    pix->pixelformat = fourcc();
    if (is("multi")) {
        size += number("FAKE_OFFSET");
        multi->num_planes = 1;
        multi->plane_fmt[0].bytesperline = line;
        multi->plane_fmt[0].sizeimage = size;
    } else {
        pix->bytesperline = is("mjpg") ? 0 : line;
        pix->sizeimage = size = is("mjpg") ? 1 << 20 : size;
    }
    return 0;
}

static int query_buffer(struct v4l2_buffer *buffer)
{
    if (is("multi")) {
        if (buffer->length < 1)
            return fail(EINVAL);
        buffer->m.planes[0].length = size;
        buffer->m.planes[0].m.mem_offset = buffer->index * ((size + 4095) / 4096 * 4096);
    } else {
        buffer->length = size;
        buffer->m.offset = buffer->index * ((size + 4095) / 4096 * 4096);
    }
    return 0;
}

static int take(struct v4l2_buffer *buffer)
{
    struct timespec now;
    if (is("unplugged") && taken >= 2)
        return fail(ENODEV);
    if (!count)
        return fail(EAGAIN);
    unsigned index = queued[first++ % FRAMES], used = size;
    count--;
    char *to = memory + index * ((size + 4095) / 4096 * 4096);
    if (is("mjpg")) {
        FILE *file = fopen(getenv("FAKE_JPEG"), "rb");
        used = fread(to, 1, size, file);
        fclose(file);
    } else
        for (unsigned i = 0; i < size; i++)
            to[i] = (taken + i) % 251;
    buffer->index = index;
    buffer->sequence = 100 + taken * 2; /* every other frame was dropped: no buffer */
    buffer->flags = V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC | (is("damaged") && taken == 1 ? V4L2_BUF_FLAG_ERROR : 0);
    clock_gettime(CLOCK_MONOTONIC, &now);
    buffer->timestamp.tv_sec = now.tv_sec - 1; /* a second old */
    buffer->timestamp.tv_usec = now.tv_nsec / 1000;
    if (is("multi")) {
        buffer->m.planes[0].bytesused = used;
        buffer->m.planes[0].data_offset = number("FAKE_OFFSET");
    } else
        buffer->bytesused = used;
    taken++;
    return 0;
}

static int answer(unsigned long request, void *argument)
{
    struct v4l2_capability *capability = argument;
    struct v4l2_fmtdesc *description = argument;
    struct v4l2_format *format = argument;
    struct v4l2_requestbuffers *buffers = argument;
    struct v4l2_buffer *buffer = argument;
    switch (request) {
    case VIDIOC_QUERYCAP:
        strcpy((char *)capability->card, "fake camera");
        capability->capabilities = V4L2_CAP_DEVICE_CAPS | V4L2_CAP_VIDEO_OUTPUT;
        capability->device_caps =
            V4L2_CAP_STREAMING | (is("multi") ? V4L2_CAP_VIDEO_CAPTURE_MPLANE : V4L2_CAP_VIDEO_CAPTURE);
        return 0;
    case VIDIOC_ENUM_FMT:
        if (description->index > 1)
            return fail(EINVAL);
        description->pixelformat = description->index ? fourcc() : V4L2_PIX_FMT_SBGGR10;
        return 0;
    case VIDIOC_G_FMT:
        format->fmt.pix.width = width;
        format->fmt.pix.height = height;
        return 0;
    case VIDIOC_S_FMT:
        return set_format(format);
    case VIDIOC_S_PARM:
        return fail(ENOTTY);
    case VIDIOC_REQBUFS:
        if (is("busy"))
            return fail(EBUSY);
        buffers->count = FRAMES;
        if (ftruncate(camera, FRAMES * (size + 4096)))
            return -1;
        memory = mmap(NULL, FRAMES * (size + 4096), PROT_READ | PROT_WRITE, MAP_SHARED, camera, 0);
        return 0;
    case VIDIOC_QUERYBUF:
        return query_buffer(buffer);
    case VIDIOC_QBUF:
        queued[(first + count++) % FRAMES] = buffer->index;
        return 0;
    case VIDIOC_DQBUF:
        return take(buffer);
    case VIDIOC_STREAMON:
    case VIDIOC_STREAMOFF:
        return 0;
    }
    return fail(ENOTTY); /* also if the caller's structure differs from the kernel's in size */
}

int ioctl(int fd, unsigned long request, ...)
{
    va_list more;
    va_start(more, request);
    void *argument = va_arg(more, void *);
    va_end(more);
    if (fd >= 0 && fd == camera)
        return answer(request & 0xffffffff, argument);
    return ((int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl"))(fd, request, argument);
}
