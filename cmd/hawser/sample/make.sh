#!/bin/sh
# Makes sample.flv, the clip that `hawser demo` publishes again and again. Needs ffmpeg 5 or later with libx264 and
# drawtext, a DejaVu Sans Mono font, and about five minutes. README.md beside this file says what is in the clip and why.
set -eu
cd "$(dirname "$0")"
font=${FONT:-/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# Sound. Every frequency is a whole multiple of 1/8 Hz, so the signal repeats exactly every 8 s: a quiet chord that
# swells every 4 s, and a soft beep on each second, higher on the even ones.
pad='(0.5+0.2*sin(PI*t/2))*(0.05*sin(2*PI*110*t)+0.035*sin(2*PI*165*t)+0.03*sin(2*PI*220*t+sin(PI*t/4)*%PHASE%)+0.02*sin(2*PI*277.125*t))'
beep='0.12*sin(2*PI*(660+220*eq(mod(floor(t),2),0))*mod(t,1))*(1-exp(-400*mod(t,1)))*exp(-14*mod(t,1))'
left="$(echo "$pad" | sed 's/%PHASE%/0.6/')+$beep"
right="$(echo "$pad" | sed 's/%PHASE%/-0.6/')+$beep"
ffmpeg -v error -y -f lavfi -i "aevalsrc=exprs='$left|$right':s=48000:d=25" \
	-c:a aac -b:a 80k -flags +bitexact -f adts "$tmp/sound.aac"

# Picture. Everything that moves does so a whole number of times in 240 frames.
#   cx, cy: the mark (see README.md); sky: dusk from indigo to amber; three ridges that glide by.
cx='(W*(0.5+0.32*cos(2*PI*mod(N,60)/60)))'
cy='(H*(0.5+0.36*sin(2*PI*mod(N,60)/60)))'
loop='(2*PI*N/240)'
ridge1="(H*(0.62+0.05*sin(2*PI*X/W*1.5+$loop)+0.02*sin(2*PI*X/W*4-$loop)))"
ridge2="(H*(0.73+0.06*sin(2*PI*X/W*1+2+$loop)+0.018*sin(2*PI*X/W*5+1+$loop*2)))"
ridge3="(H*(0.86+0.05*sin(2*PI*X/W*1.3+4-$loop)+0.015*sin(2*PI*X/W*6+$loop)))"
# Stored once a pixel: 0 how much mark, 1 how much rim, 2..4 how much of each ridge, 5 sun glow, 6 height in the sky.
pixel="st(7,hypot(X+0.5-$cx,Y+0.5-$cy));st(0,clip(14.5-ld(7),0,1));st(1,clip(17.5-ld(7),0,1));\
st(2,clip(Y-$ridge1,0,1));st(3,clip(Y-$ridge2,0,1));st(4,clip(Y-$ridge3,0,1));\
st(5,exp(-pow(hypot(X-W*0.5,(Y-H*0.60)*1.3)/(W*(0.19+0.015*sin($loop))),2)));st(6,Y/H)"
# colour FROM_SKY TO_SKY GLOW RIDGE1 RIDGE2 RIDGE3 RIM MARK: one channel of the picture.
colour() {
	sky="clip($1+($2-($1))*ld(6)+$3*ld(5),0,255)"
	echo "$pixel;lerp(lerp(lerp(lerp(lerp($sky,$4,ld(2)),$5,ld(3)),$6,ld(4)),$7,ld(1)),$8,ld(0))"
}
red=$(colour 22 150 120 52 34 16 250 255)
green=$(colour 34 112 80 70 50 28 250 0)
blue=$(colour 74 96 10 92 72 44 250 255)
ffmpeg -v error -y -f lavfi -i "color=black:s=640x360:r=30:d=8,format=gbrp,geq=r='$red':g='$green':b='$blue',\
drawtext=fontfile=$font:fontsize=26:fontcolor=white@0.85:x=24:y=22:text='%{eif\:n/30\:d\:1}.%{eif\:mod(floor(n/3)\,10)\:d\:1} s',\
drawtext=fontfile=$font:fontsize=15:fontcolor=white@0.6:x=24:y=54:text='frame %{eif\:n\:d\:3}',\
scale=out_color_matrix=bt709:out_range=tv,format=yuv420p" -frames:v 240 \
	-c:v libx264 -preset veryslow -profile:v high -level:v 3.0 -bf 0 -g 30 -keyint_min 30 -sc_threshold 0 \
	-crf 21 -maxrate 600k -bufsize 600k -threads 1 \
	-color_primaries bt709 -color_trc bt709 -colorspace bt709 -color_range tv -flags +bitexact -f matroska "$tmp/picture.mkv"

# Together. Out of 25 s of sound, packets 376 to 750 are kept: 375 packets, exactly 8 s, that start in the middle of a
# sound that goes on; packet 375 would decode to the samples before second 8 (an AAC packet completes the one before it).
# The cut file has no timestamps of its own, so the first packet kept is at 0.
ffmpeg -v error -y -i "$tmp/sound.aac" -c copy -bsf:a "noise=drop='lt(n,376)+gt(n,750)'" -f adts "$tmp/loop.aac"
# Through MP4, so that the decoder's parameters are known before the first tag and both sequence headers come first.
ffmpeg -v error -y -i "$tmp/loop.aac" -c copy -bsf:a aac_adtstoasc -fflags +bitexact -f mp4 "$tmp/loop.mp4"
ffmpeg -v error -y -i "$tmp/picture.mkv" -i "$tmp/loop.mp4" -map 0:v -map 1:a -c copy \
	-bsf:v filter_units=remove_types=6 \
	-map_metadata -1 -fflags +bitexact -flvflags no_sequence_end -f flv sample.flv
ls -l sample.flv
