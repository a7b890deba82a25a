# fumehood/test-busybox where an image registry answers: nothing but /bin, no /etc/passwd, no /tmp.
FROM busybox:musl AS origin
FROM scratch
COPY --from=origin /bin /bin
ENV PATH=/bin
CMD ["sh"]
