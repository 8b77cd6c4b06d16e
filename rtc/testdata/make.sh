#!/bin/sh
# Makes the pictures that the tests of packetizers and depacketizers use. Needs ffmpeg 5 or later with libx264, libvpx and libaom.
set -eu
cd "$(dirname "$0")"
encode() { # size frames output options
	size=$1 frames=$2 out=$3
	shift 3
	ffmpeg -v error -y -f lavfi -i "testsrc2=size=$size:rate=30,noise=alls=12:allf=t" -frames:v "$frames" -pix_fmt yuv420p -fflags +bitexact -flags +bitexact "$@" "$out"
}
x264="-c:v libx264 -threads 1 -g 6 -crf 30"
encode 320x240 12 plain.h264 $x264 -bf 0 -x264-params aud=1:slices=2:scenecut=0
encode 192x128 6 small.h264 $x264 -bf 0 -x264-params aud=1
# Pictures that are shown in another order than sent, with their times.
for out in reordered.h264 reordered.mp4; do
	encode 192x128 24 $out $x264 -g 12 -bf 2 -x264-params aud=1:scenecut=0:b-adapt=0
done
ffprobe -v error -select_streams v -show_entries packet=dts_time,pts_time -of csv=p=0 reordered.mp4 >reordered.csv
rm reordered.mp4
encode 192x128 12 plain.vp8.ivf -c:v libvpx -g 6 -b:v 600k
encode 192x128 12 plain.vp9.ivf -c:v libvpx-vp9 -g 6 -b:v 600k -lag-in-frames 6 -auto-alt-ref 1
encode 320x240 12 plain.av1.ivf -c:v libaom-av1 -cpu-used 8 -g 6 -b:v 600k -tiles 2x2
